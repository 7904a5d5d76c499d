//go:build unix

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/embedded/mailbox"
	"attune/sinks/clickhouse"
)

var chaosFor = flag.Duration("chaos", 0, "how long the faults of TestChaos go on, such as 2m")

// fault is one thing that is done to one process.
type fault struct {
	after   time.Duration // since the one before
	target  int
	kill    bool          // -9; else it is stopped, and goes on later
	lasting time.Duration // until it is started again, or goes on
}

// faults is the plan that follows from a seed; it goes on without end.
func faults(random *rand.Rand, targets int) func() fault {
	return func() fault {
		f := fault{after: time.Duration(300+random.IntN(4000)) * time.Millisecond, target: random.IntN(targets), kill: random.IntN(5) < 3}
		f.lasting = time.Duration(100+random.IntN(2900)) * time.Millisecond
		if !f.kill {
			f.lasting = time.Duration(200+random.IntN(5800)) * time.Millisecond // longer than a lease, at times
		}
		return f
	}
}

// A whole deployment as processes of their own, under load, while one after another is killed with -9 or stopped for
// a while: every acknowledged event is in ClickHouse once and in its customer's order, every profile is what the
// oracle says, every decision was made once, and no mail was sent twice.
//
//	go test ./cmd/attune -run TestChaos -chaos 2m
//
// CHAOS_SEED repeats the faults and the calls of an earlier run, whose seed it has printed.
func TestChaos(t *testing.T) {
	if *chaosFor <= 0 {
		t.Skip("it takes minutes: go test ./cmd/attune -run TestChaos -chaos 2m, or task chaos")
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED=%s: want a number, such as an earlier run has printed", text)
		}
	}
	t.Logf("CHAOS_SEED=%d", seed)
	d := newDeployment(t)
	d.start()

	const clients, customers = 4, 50 // of each client
	var loads []*producer
	for i := range clients {
		c := &producer{ingests: d.ingests, random: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		c.ingests = append(c.ingests[i%2:len(c.ingests):len(c.ingests)], c.ingests[:i%2]...)
		for n := range customers {
			c.shoppers = append(c.shoppers, &shopper{user: fmt.Sprintf("c%d-%d", i, n)})
		}
		loads = append(loads, c)
	}
	loading, enough := context.WithCancel(t.Context())
	defer enough()
	var all errgroup.Group
	for _, c := range loads {
		all.Go(func() error { return c.run(loading) })
	}
	suffered := d.suffer(rand.New(rand.NewPCG(seed, 0)), *chaosFor)
	enough()
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	var shoppers []*shopper
	retries := 0
	for _, c := range loads {
		shoppers = append(shoppers, c.shoppers...)
		retries += c.retries
	}
	t.Logf("%d faults; the clients posted %d batches again", suffered, retries)
	if least := int(chaosFor.Minutes() * 10); suffered < least {
		t.Errorf("%d faults, want at least %d", suffered, least)
	}
	d.judge(shoppers)
}

// deployment is the processes, and the mail server outside, which lives with the test.
type deployment struct {
	t         *testing.T
	folder    string
	file      string // attune.yaml
	dsn       string // for questions
	broker    string // its address
	ingests   []string
	mails     *mailbox.Mailbox
	processes []*process
	began     time.Time
	story     bytes.Buffer // the faults, with their times
}

func newDeployment(t *testing.T) *deployment {
	d := &deployment{t: t, folder: t.TempDir(), ingests: []string{freeAddress(t), freeAddress(t)}, began: time.Now()}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		t.Logf("faults:\n%s", d.story.String())
		for _, p := range d.processes {
			t.Logf("the end of what %s logged:\n%s", p.name, p.tail(4000))
		}
	})
	return d
}

// start brings everything up, on addresses that stay.
func (d *deployment) start() {
	t := d.t
	t.Helper()
	library := enginetest.Library(t)
	var err error
	d.mails, err = mailbox.Start(context.WithoutCancel(t.Context()), mailbox.Config{SMTPAddr: "127.0.0.1:0", Dir: filepath.Join(d.folder, "mails"), Keep: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.mails.Close() })
	broker, native, web := freePort(t), freePort(t), freePort(t)
	brokerConfig := embedded.NATSConfig{Dir: filepath.Join(d.folder, "nats"), Port: broker}
	clickhouseConfig := embedded.ClickHouseConfig{Library: library, Dir: filepath.Join(d.folder, "clickhouse"), TCPPort: native, HTTPPort: web, MaxMemory: 2 << 30}
	d.configure(broker, d.clickhouseDSN(clickhouseConfig), web)

	d.add("broker", brokerProcess(brokerConfig))
	d.add("clickhouse", clickhouseProcess(clickhouseConfig))
	d.eventually(time.Minute, "the broker", func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(broker)))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	run := func(name, listen, only string) {
		d.add(name, attuneProcess([]string{"ATTUNE_LISTEN=" + listen}, "run", "--config", d.file, "--only", only))
	}
	run("worker-1", "127.0.0.1:0", "normalize,customer,deliver")
	run("worker-2", "127.0.0.1:0", "normalize,customer,deliver")
	run("sink", "127.0.0.1:0", "sink")
	run("ingest-1", d.ingests[0], "ingest")
	run("ingest-2", d.ingests[1], "ingest")
	d.eventually(time.Minute, "tables in ClickHouse", func() bool {
		tables, err := d.sql("SELECT count() FROM decisions")
		return err == nil && tables == "0"
	})
	output(t, "apply", filepath.Join("cmd", "attune", "testdata", "chaos"), "--config", d.file)
}

func (d *deployment) add(name string, launch func(context.Context, *os.File) (*running, error)) {
	d.processes = append(d.processes, startProcess(d.t, name, d.folder, launch))
}

// clickhouseDSN starts the server once for its address, password included, which stays.
func (d *deployment) clickhouseDSN(c embedded.ClickHouseConfig) string {
	server, err := embedded.StartClickHouse(d.t.Context(), c)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := server.Stop(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	return server.DSN()
}

func (d *deployment) configure(broker int, dsn string, web int) {
	host, port, err := net.SplitHostPort(d.mails.SMTPAddr())
	if err != nil {
		d.t.Fatal(err)
	}
	d.file = filepath.Join(d.folder, "attune.yaml")
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(broker))
	d.broker = "nats://" + address
	if os.Getenv(withoutFences) != "" {
		address = unfenced(d.t, address)
	}
	settings := fmt.Sprintf(`
nats: {url: "nats://%s"}
clickhouse: {dsn: "%s", http: "http://127.0.0.1:%d", retry_pause: 1s}
ingest: {write_keys: [{name: web, key: secret}]}
destinations: {mail: {smtp: {host: %s, port: %s, tls: none}}}
`, address, dsn, web, host, port)
	if err := os.WriteFile(d.file, []byte(settings), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.dsn, err = clickhouse.Config{DSN: dsn, HTTP: fmt.Sprintf("http://127.0.0.1:%d", web)}.QueryDSN()
	if err != nil {
		d.t.Fatal(err)
	}
}

// suffer does the faults, for so long, and returns their number once all are over.
func (d *deployment) suffer(random *rand.Rand, lasting time.Duration) (count int) {
	next := faults(random, len(d.processes))
	ctx, cancel := context.WithTimeout(d.t.Context(), lasting+2*time.Minute)
	defer cancel()
	var under errgroup.Group
	for end := time.Now().Add(lasting); time.Now().Before(end); count++ {
		f := next()
		time.Sleep(f.after)
		p := d.processes[f.target]
		p.turn.Lock() // the same one again waits until it is whole, so that the plan doesn't depend on the times
		fmt.Fprintf(&d.story, "%8.3fs  %-5s %-10s %s\n", time.Since(d.began).Seconds(), map[bool]string{true: "kill", false: "stop"}[f.kill], p.name, f.lasting)
		under.Go(func() error {
			defer p.turn.Unlock()
			return p.suffer(ctx, f)
		})
	}
	if err := under.Wait(); err != nil {
		d.t.Fatal(err)
	}
	return count
}

// sql asks ClickHouse.
func (d *deployment) sql(query string) (string, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	var out strings.Builder
	err := clickhouse.Query(ctx, d.dsn, query, "TSV", &out)
	return strings.TrimSuffix(out.String(), "\n"), err
}

func (d *deployment) eventually(within time.Duration, what string, holds func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(200 * time.Millisecond) { // between two looks at other processes
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: not within %s", what, within)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
