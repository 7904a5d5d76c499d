package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
)

// asCommand makes the test binary behave as attune itself, so that tests run real processes.
const asCommand = "ATTUNE_TEST_AS_COMMAND"

// asBroker makes the test binary a NATS server; its value is the port and the data folder.
const asBroker = "ATTUNE_TEST_AS_BROKER"

// lifeLine makes either end when its standard input does, so that none outlives the test.
const lifeLine = "ATTUNE_TEST_LIFE_LINE"

func TestMain(m *testing.M) {
	embedded.MaybeClickHouse()
	tuneMemory()
	if os.Getenv(lifeLine) != "" {
		os.Unsetenv(lifeLine)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(exitInterrupted)
		}()
	}
	if broker := os.Getenv(asBroker); broker != "" {
		fmt.Fprintln(os.Stderr, "broker:", serveBroker(broker))
		os.Exit(exitFailed)
	}
	if os.Getenv(asCommand) != "" {
		os.Unsetenv(asCommand) // the configuration refuses variables that it doesn't know
		main()
	}
	enginetest.Main(m)
}

// serveBroker returns only when the server can't be had.
func serveBroker(text string) error {
	var c embedded.NATSConfig
	if _, err := fmt.Sscanf(text, "%d %s", &c.Port, &c.Dir); err != nil {
		return err
	}
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	if _, err := embedded.StartNATS(context.Background(), c); err != nil {
		return err
	}
	select {}
}

// attune is a command line of this program, in the repository's root.
func attune(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Dir = filepath.Join("..", "..")
	return cmd
}

// output runs a command that must succeed and returns what it printed.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := attune(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("attune %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// failure runs a command that must fail and returns what it said.
func failure(t *testing.T, args ...string) string {
	t.Helper()
	said, err := attune(t.Context(), args...).CombinedOutput()
	if err == nil {
		t.Fatalf("attune %s succeeded:\n%s", strings.Join(args, " "), said)
	}
	return string(said)
}

// dev is a running `attune dev`.
type dev struct {
	t    *testing.T
	cmd  *exec.Cmd
	data string
	logs *lockedBuffer

	IngestURL      string   `json:"ingest_url"`
	MailURL        string   `json:"mail_url"`
	WriteKey       string   `json:"write_key"`
	NATSURL        string   `json:"nats_url"`
	ShortenedWaits []string `json:"shortened_waits"`
}

// startDev starts dev on a data folder and a free port, and waits for its addresses.
func startDev(t *testing.T, data string, args ...string) *dev {
	t.Helper()
	enginetest.Library(t) // skips where ClickHouse can't be had
	d := &dev{t: t, data: data, logs: new(lockedBuffer)}
	d.cmd = attune(context.WithoutCancel(t.Context()), append([]string{"dev", "--json", "--listen", "127.0.0.1:0", "--data", data}, args...)...)
	d.cmd.Stderr = d.logs
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("dev did not come up: %v\n%s", err, d.logs)
	}
	if err := json.Unmarshal(line, d); err != nil {
		t.Fatalf("dev --json printed %q: %v", line, err)
	}
	return d
}

// interrupt is Ctrl-C; it returns when the process has drained and ended well.
func (d *dev) interrupt() {
	d.t.Helper()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		d.t.Fatalf("dev ended with %v after Ctrl-C\n%s", err, d.logs)
	}
}

// kill is kill -9.
func (d *dev) kill() {
	if d.cmd.ProcessState == nil {
		_ = d.cmd.Process.Signal(syscall.SIGKILL)
		_ = d.cmd.Wait()
	}
}

// post sends a call and returns the status; 0 when nobody answers.
func (d *dev) post(path, body string) int {
	request, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.IngestURL+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	request.SetBasicAuth(d.WriteKey, "")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// mail is what the catcher's list says of one.
type mail struct {
	ID        string `json:"id"`
	To        string `json:"to"`
	Subject   string `json:"subject"`
	MessageID string `json:"message_id"`
	Copies    int    `json:"copies"`
}

func (d *dev) mails() []mail {
	d.t.Helper()
	response, err := http.Get(d.MailURL + "api/mails")
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	var list struct{ Mails []mail }
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		d.t.Fatal(err)
	}
	return list.Mails
}

// sql asks the running ClickHouse for one value.
func (d *dev) sql(query string) string {
	d.t.Helper()
	return strings.TrimSpace(output(d.t, "sql", "--data", d.data, "--format", "TSV", query))
}

// eventually waits for a condition, at most as long as given.
func (d *dev) eventually(within time.Duration, what string, holds func() bool) {
	d.t.Helper()
	deadline := time.Now().Add(within)
	for !holds() {
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: not within %s\n%s", what, within, d.logs)
		}
		time.Sleep(100 * time.Millisecond) // between two looks at another process
	}
}

// lockedBuffer collects what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ fmt.Stringer = (*lockedBuffer)(nil)
