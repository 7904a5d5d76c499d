package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/sinks/smtp"
	"attune/stages/deliver/template"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// bench is a broker with everything that deliveries need, and what they leave behind.
type bench struct {
	t        *testing.T
	js       jetstream.JetStream
	metrics  *Metrics
	gathered *prometheus.Registry
	log      *lockedBuffer
	logger   *slog.Logger
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchOn(t, enginetest.NATS(t))
}

func newBenchOn(t *testing.T, n *embedded.NATS) *bench {
	t.Helper()
	js := enginetest.Connected(t, n)
	if err := topology.Ensure(t.Context(), js, topology.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, js: js, gathered: prometheus.NewRegistry(), log: &lockedBuffer{}}
	b.logger = slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug - 8}))
	var err error
	if b.metrics, err = NewMetrics(b.gathered); err != nil {
		t.Fatal(err)
	}
	return b
}

// stage makes the deliveries to a destination; the sender is a real SMTP sink to the address given.
func (b *bench) stage(destination, address string, change ...func(*Config)) *Stage {
	b.t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		b.t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		b.t.Fatal(err)
	}
	config := smtp.DefaultConfig()
	config.Host, config.Port, config.TLS, config.Timeout, config.ReplyTimeout = host, number, smtp.TLSNone, 10*time.Second, 10*time.Second
	sink, err := smtp.New(config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { sink.Close() })
	bucket, err := state.Open(b.js.Conn(), topology.Vault)
	if err != nil {
		b.t.Fatal(err)
	}
	personal := vault.New(bucket)
	b.t.Cleanup(personal.Close)
	c := Config{
		JetStream: b.js, Destination: destination, Sender: sink, Templates: newShelf(b.t), Vault: personal,
		Pause: func(int) time.Duration { return time.Millisecond }, Metrics: b.metrics, Log: b.logger,
	}
	for _, f := range change {
		f(&c)
	}
	s, err := New(b.t.Context(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// run puts stages on a Router until stop is called.
func (b *bench) run(stages ...*Stage) (stop func()) {
	b.t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NewSlogLogger(b.logger))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, s := range stages {
		router.AddHandler(s.Topic(), s.Topic(), s.Subscriber(), "", bus.NewPublisher(b.js), s.Handle)
	}
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	stop = sync.OnceFunc(func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(stop)
	return stop
}

// delivery is a good one; tests change it.
func delivery(decision string, change ...func(*pipeline.Delivery)) pipeline.Delivery {
	d := pipeline.Delivery{
		Decision: decision, Profile: "anna", Campaign: "cart", Destination: "mail", Definitions: "v1", Template: "plain",
		From: "Shop <hi@shop.example>", Subject: "Hello {{ customer.first_name }}", Data: event.Object(`{"event":{"name":"E"},"customer":{"clv":12.5}}`),
	}
	for _, f := range change {
		f(&d)
	}
	return d
}

func (b *bench) enqueue(header nats.Header, deliveries ...pipeline.Delivery) {
	b.t.Helper()
	for _, d := range deliveries {
		payload, err := json.Marshal(d)
		if err != nil {
			b.t.Fatal(err)
		}
		b.put(topology.Subject(topology.Outbox, d.Destination), header, payload)
	}
}

func (b *bench) put(subject string, header nats.Header, payload []byte) {
	b.t.Helper()
	if _, err := b.js.PublishMsg(b.t.Context(), &nats.Msg{Subject: subject, Header: header, Data: payload}); err != nil {
		b.t.Fatal(err)
	}
}

// person fills a profile's entry in the vault.
func (b *bench) person(profile string, fields map[string]string) {
	b.t.Helper()
	entry := vault.Entry{Fields: map[string]vault.Field{}}
	for name, value := range fields {
		text, err := json.Marshal(value)
		if err != nil {
			b.t.Fatal(err)
		}
		entry.Fields[name] = vault.Field{Value: text, At: 1}
	}
	data, err := json.Marshal(entry)
	if err != nil {
		b.t.Fatal(err)
	}
	b.set(topology.Vault, profile, data)
}

func (b *bench) set(bucket, key string, data []byte) {
	b.t.Helper()
	kv, err := b.js.KeyValue(b.t.Context(), bucket)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := kv.Put(b.t.Context(), key, data); err != nil {
		b.t.Fatal(err)
	}
}

// note writes a delivery's record by hand.
func (b *bench) note(decision string, r Record) {
	b.t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.set(topology.Deliveries, decision, data)
}

func (b *bench) record(decision string) Record {
	b.t.Helper()
	kv, err := b.js.KeyValue(b.t.Context(), topology.Deliveries)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := records{b.js.Conn(), kv}.find(b.t.Context(), decision)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// end is a feedback call, as RAW has it.
type end struct {
	Type, Event, MessageID, ProfileID, Timestamp string
	Properties                                   struct {
		Decision, Campaign, Destination, Template, Outcome, Reason, Response string
		Attempt                                                              int
	}
}

// ends are the feedback calls in RAW by decision; several of one decision must be the same.
func (b *bench) ends() map[string]end {
	b.t.Helper()
	found := map[string]end{}
	for _, m := range b.stored(topology.Raw) {
		var e end
		if err := json.Unmarshal(m.Data, &e); err != nil {
			b.t.Fatal(err)
		}
		if before, ok := found[e.Properties.Decision]; ok && before != e {
			b.t.Errorf("two ends of one decision:\n%+v\n%+v", before, e)
		}
		found[e.Properties.Decision] = e
	}
	return found
}

func (b *bench) awaitEnds(n int) map[string]end {
	b.t.Helper()
	eventually(b.t, fmt.Sprint(n, " ends are in RAW"), func() bool { return len(b.ends()) >= n })
	return b.ends()
}

func (b *bench) stored(stream string) []*jetstream.RawStreamMsg {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), stream)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := s.CachedInfo().State.FirstSeq; seq > 0 && seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(b.t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// counted reads the metric: by destination, outcome and reason.
func (b *bench) counted() map[string]float64 {
	b.t.Helper()
	families, err := b.gathered.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label { // sorted by name
				labels = append(labels, l.GetValue())
			}
			counted[strings.Join(labels, " ")] = m.Counter.GetValue()
		}
	}
	return counted
}

// shelf holds templates.
type shelf map[string]Template

func newShelf(t *testing.T) shelf {
	t.Helper()
	s := shelf{}
	for name, source := range map[string]string{
		"plain":   "<p>Hi {{ customer.first_name }}, {{ customer.clv }} {{ event.name }}</p>",
		"endless": "{% for a in event.list %}{% for b in event.list %}{% for c in event.list %}{{ customer.first_name }}{% endfor %}{% endfor %}{% endfor %}",
	} {
		html, err := template.Parse(name, source)
		if err != nil {
			t.Fatal(err)
		}
		text, err := template.Parse(name, "Hi {{ customer.first_name }}")
		if err != nil {
			t.Fatal(err)
		}
		s[name] = Template{HTML: html, Text: text}
	}
	return s
}

func (s shelf) Template(_ context.Context, definitions, name string) (Template, error) {
	if t, ok := s[name]; ok && definitions == "v1" {
		return t, nil
	}
	return Template{}, pipeline.Park("no_template", fmt.Errorf("definitions %s have no template %q", definitions, name))
}

// server is a real SMTP server whose answers a test scripts; a nil hook accepts. It counts mails by Message-ID.
type server struct {
	address string
	rcpt    func(to string) error
	data    func(conn net.Conn, id string, attempt int) error // after the whole mail came

	mu    sync.Mutex
	mails map[string]int // that came whole
	taken map[string]int // that were answered with yes
	now   int            // mails being answered at this moment
	most  int
}

func startServer(t *testing.T, s *server) *server {
	t.Helper()
	s.mails, s.taken = map[string]int{}, map[string]int{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) { return &conversation{s, c}, nil }))
	server.Domain = "server.example"
	server.ErrorLog = log.New(io.Discard, "", 0)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Close(); listener.Close(); served.Wait() })
	return s
}

func (s *server) count(id string) (came, taken int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails[id], s.taken[id]
}

func (s *server) all() (mails, ids int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.mails {
		mails += n
	}
	return mails, len(s.mails)
}

type conversation struct {
	s    *server
	conn *gosmtp.Conn
}

func (c *conversation) Reset()                                 {}
func (c *conversation) Logout() error                          { return nil }
func (c *conversation) Mail(string, *gosmtp.MailOptions) error { return nil }

func (c *conversation) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if c.s.rcpt != nil {
		return c.s.rcpt(to)
	}
	return nil
}

func (c *conversation) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.Body); err != nil {
		return err
	}
	id, _, _ := strings.Cut(strings.Trim(m.Header.Get("Message-Id"), "<>"), "@")
	c.s.mu.Lock()
	c.s.mails[id]++
	attempt := c.s.mails[id]
	c.s.now++
	c.s.most = max(c.s.most, c.s.now)
	c.s.mu.Unlock()
	if c.s.data != nil {
		err = c.s.data(c.conn.Conn(), id, attempt)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.now--
	if err == nil {
		c.s.taken[id]++
	}
	return err
}

func says(code int, words string) error {
	return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode{code / 100, 1, 1}, Message: words}
}

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

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", patience, what)
		}
	}
}
