package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/embedded/mailbox"
)

// run works over servers of one's own: nothing is embedded, everything is in attune.yaml.
func TestRunOverOwnServers(t *testing.T) {
	dsn, broker := enginetest.Database(t), enginetest.NATS(t)
	mails, err := mailbox.Start(context.WithoutCancel(t.Context()), mailbox.Config{SMTPAddr: "127.0.0.1:0", Dir: t.TempDir(), Keep: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer mails.Close()
	host, port, err := net.SplitHostPort(mails.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "attune.yaml")
	settings := fmt.Sprintf(`
listen: %s
data_dir: %s
nats: {url: "%s"}
clickhouse: {dsn: "%s", http: "%s"}
ingest: {write_keys: [{name: web, key: secret}]}
destinations: {mail: {smtp: {host: %s, port: %s, tls: none}}}
log: {format: json}
`, listen, filepath.Join(folder, "unused"), broker.URL(), dsn, enginetest.ClickHouse(t).HTTPURL(), host, port)
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	workspace := filepath.Join(folder, "shop")
	output(t, "init", workspace)
	campaign := filepath.Join(workspace, "campaigns", "cart-abandonment.yaml")
	text, err := os.ReadFile(campaign)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(campaign, []byte(strings.Replace(string(text), "wait: 1h", "wait: 1s", 1)), 0o600); err != nil {
		t.Fatal(err)
	}

	logs := new(lockedBuffer)
	d := &dev{t: t, cmd: attune(context.WithoutCancel(t.Context()), "run", "--config", file), logs: logs, IngestURL: "http://" + listen, WriteKey: "secret"}
	d.cmd.Stderr = logs
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
	d.ready()
	output(t, "apply", workspace, "--config", file)
	d.post("/v1/identify", `{"userId":"ada","traits":{"email":"ada@mail.example","firstName":"Ada"},"context":{"consent":{"categoryPreferences":{"email":true}}}}`)
	if status := d.post("/v1/track", `{"userId":"ada","event":"Product Added","properties":{"cart_id":"c1","name":"Red Runner","price":89.9}}`); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	d.eventually(30*time.Second, "Ada's mail", func() bool { return len(mails.List()) == 1 })
	if m := mails.List()[0]; !strings.Contains(m.Subject, "Ada") {
		t.Errorf("the mail is not Ada's own: %+v", m)
	}
	counted := func() string {
		return strings.TrimSpace(output(t, "sql", "--config", file, "--format", "TSV", "SELECT count() FROM messages WHERE outcome = 'accepted'"))
	}
	d.eventually(20*time.Second, "the delivery in ClickHouse", func() bool { return counted() == "1" })
	if _, err := os.Stat(filepath.Join(folder, "unused")); err == nil {
		t.Error("a data folder was made though nothing is embedded")
	}
	d.WriteKey = "wrong"
	if status := d.post("/v1/track", `{"userId":"ada","event":"x"}`); status != http.StatusUnauthorized {
		t.Errorf("a wrong write key: status %d", status)
	}
	d.interrupt()
}

// What `attune run` embeds is found by its configuration, as long as it runs.
func TestRunWithEmbeddedEngines(t *testing.T) {
	t.Parallel()
	enginetest.Library(t) // skips where ClickHouse can't be had
	listen, folder := freeAddress(t), t.TempDir()
	file := filepath.Join(folder, "attune.yaml")
	settings := fmt.Sprintf("listen: %s\ndata_dir: %s\ningest: {write_keys: [{name: web, key: secret}]}\n", listen, filepath.Join(folder, "data"))
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := failure(t, "sql", "--config", file, "SELECT 1"); !strings.Contains(said, "is not running") {
		t.Errorf("before it runs, sql says %s", said)
	}
	d := &dev{t: t, cmd: attune(context.WithoutCancel(t.Context()), "run", "--config", file), logs: new(lockedBuffer), IngestURL: "http://" + listen, WriteKey: "secret"}
	d.cmd.Stderr = d.logs
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
	d.ready()
	if status := d.post("/v1/track", `{"userId":"ada","event":"Product Viewed"}`); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	d.eventually(20*time.Second, "the event in ClickHouse", func() bool {
		return strings.TrimSpace(output(t, "sql", "--config", file, "--format", "TSV", "SELECT count() FROM events")) == "1"
	})
	if said := output(t, "status", "--config", file); !strings.Contains(said, "customer") {
		t.Errorf("status says %s", said)
	}
	d.interrupt()
	if said := failure(t, "sql", "--config", file, "SELECT 1"); !strings.Contains(said, "is not running") {
		t.Errorf("after it has ended, sql says %s", said)
	}
}

// A worker starts while ClickHouse is away: events are taken and decided, and their rows are there once it is back.
func TestRunStartsWithoutClickHouse(t *testing.T) {
	t.Parallel()
	dsn, err := url.Parse(enginetest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	server, listen := dsn.Host, freeAddress(t)
	dsn.Host = freeAddress(t)
	w := &workers{install(t, 8, "listen: "+listen, "ingest: {write_keys: [{name: web, key: secret}]}", fmt.Sprintf("clickhouse: {dsn: %q}", dsn)), new(lockedBuffer)}
	d := &dev{t: t, cmd: attune(context.WithoutCancel(t.Context()), "run", "--config", w.file), logs: w.logs, IngestURL: "http://" + listen, WriteKey: "secret"}
	d.cmd.Stderr = d.logs
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
	d.ready()
	answer, err := http.Get(d.IngestURL + "/readyz?verbose")
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(said), "[!] clickhouse: ") {
		t.Errorf("without ClickHouse it says\n%s", said)
	}
	if status := d.post("/v1/track", `{"messageId":"c0-1","userId":"c0","event":"Product Viewed"}`); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	w.awaitCommitted("c0")

	forward(t, dsn.Host, server)
	options, err := clickhouse.ParseDSN(dsn.String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d.eventually(30*time.Second, "the event in ClickHouse", func() bool {
		var n uint64
		return conn.QueryRow(t.Context(), "SELECT count() FROM events").Scan(&n) == nil && n == 1
	})
	d.interrupt()
}

// forward has who connects to one address reach another, until the test ends.
func forward(t *testing.T, from, to string) {
	t.Helper()
	listener, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			for a, b := range map[net.Conn]net.Conn{client: server, server: client} {
				go func() {
					_, _ = io.Copy(a, b)
					_ = a.Close()
				}()
			}
		}
	}()
}

// ready waits until it says that it is.
func (d *dev) ready() {
	d.t.Helper()
	d.eventually(30*time.Second, "readiness", func() bool {
		answer, err := http.Get(d.IngestURL + "/readyz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
