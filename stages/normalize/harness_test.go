package normalize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// bench is a stage on a real broker with everything that it needs.
type bench struct {
	t       testing.TB
	server  *embedded.NATS
	js      jetstream.JetStream
	stage   *Stage
	metrics *prometheus.Registry
	hash    *vault.Hasher
	last    map[int]uint64 // sequence of the last call published to each partition of RAW
}

const partitions = 4

func newBench(t testing.TB) *bench {
	t.Helper()
	server := enginetest.NATS(t)
	js := enginetest.Connected(t, server)
	config := topology.DefaultConfig()
	config.Partitions = partitions
	if err := topology.Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, server: server, js: js, metrics: prometheus.NewRegistry(), last: map[int]uint64{}}
	var err error
	if b.hash, err = vault.OpenHasher(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	b.stage, err = New(t.Context(), Config{
		JetStream: js, Partitions: partitions, Hash: b.hash, Metrics: b.metrics, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.stage.Close)
	return b
}

// publish appends calls to a partition of RAW.
func (b *bench) publish(partition int, payloads ...string) {
	b.t.Helper()
	for _, p := range payloads {
		b.last[partition] = b.send(topology.Subject(topology.Raw, partition), p, nil).Sequence
	}
}

// pack appends calls to a partition of RAW, so many to a message.
func (b *bench) pack(partition, each int, payloads ...string) {
	b.t.Helper()
	for calls := range slices.Chunk(payloads, each) {
		var lengths []string
		for _, c := range calls {
			lengths = append(lengths, strconv.Itoa(len(c)))
		}
		header := nats.Header{"Attune-Lengths": {strings.Join(lengths, " ")}}
		b.last[partition] = b.send(topology.Subject(topology.Raw, partition), strings.Join(calls, ""), header).Sequence
	}
}

func (b *bench) send(subject, payload string, header nats.Header) *jetstream.PubAck {
	b.t.Helper()
	ack, err := b.js.PublishMsg(b.t.Context(), &nats.Msg{Subject: subject, Data: []byte(payload), Header: header})
	if err != nil {
		b.t.Fatal(err)
	}
	return ack
}

// run puts subscribers of the stage on a Router, each on its partitions of RAW, until stop is called.
func (b *bench) run(subscriber message.Subscriber, publisher message.Publisher, raw ...int) (stop func()) {
	b.t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range raw {
		topic := topology.Subject(topology.Raw, p)
		router.AddHandler(topic, topic, subscriber, "", publisher, b.stage.Handle)
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

// drain runs the stage until everything in the partitions of RAW is acknowledged.
func (b *bench) drain(raw ...int) {
	b.t.Helper()
	stop := b.run(b.stage.Subscriber(), bus.NewPublisher(b.js), raw...)
	b.read(raw...)
	stop()
}

// read waits until everything in the partitions of RAW is acknowledged.
func (b *bench) read(raw ...int) {
	b.t.Helper()
	for _, p := range raw {
		durable := topology.Durable(pipeline.ReaderNormalize, p)
		eventually(b.t, durable+" has read everything", func() bool {
			c, err := b.js.Consumer(b.t.Context(), topology.Raw, durable)
			return err == nil && c.CachedInfo().AckFloor.Stream >= b.last[p]
		})
	}
}

// stored reads a whole stream.
func (b *bench) stored(stream string) []*jetstream.RawStreamMsg {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), stream)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
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

// log is what the customer chain makes of EVENTS: each record once, by its source's ordinals. Along the way it
// checks that repeats of an event go to the same profile and partition.
func (b *bench) log() []event.Event {
	b.t.Helper()
	highest := map[string]uint64{}   // by partition and source
	places := map[string][2]string{} // subject and profile by event id
	var applied []event.Event
	for _, m := range b.stored(topology.Events) {
		e, err := event.Decode(m.Data)
		if err != nil {
			b.t.Fatal(err)
		}
		place := [2]string{m.Subject, e.Profile}
		if before, ok := places[e.ID]; ok && before != place {
			b.t.Errorf("event %s went to %v and to %v", e.ID, before, place)
		}
		places[e.ID] = place
		if want := topology.Subject(topology.Events, topology.Partition(e.Profile, partitions)); m.Subject != want {
			b.t.Errorf("event %s of profile %s is in %s, want %s", e.ID, e.Profile, m.Subject, want)
		}
		source := m.Subject + " " + e.Source.Name
		if e.Source.Ordinal > highest[source] && e.Source.After <= highest[source] {
			highest[source] = e.Source.Ordinal
			applied = append(applied, e)
		}
	}
	return applied
}

// profiles are the profiles of the log's events, by event id.
func (b *bench) profiles() map[string]string {
	b.t.Helper()
	found := map[string]string{}
	for _, e := range b.log() {
		if found[e.ID] != "" {
			b.t.Errorf("event %s is applied twice", e.ID)
		}
		found[e.ID] = e.Profile
	}
	return found
}

func (b *bench) letters() []pipeline.DeadLetter {
	b.t.Helper()
	var all []pipeline.DeadLetter
	for _, m := range b.stored(topology.DeadLetter) {
		if want := topology.Subject(topology.DeadLetter, "normalize"); m.Subject != want {
			b.t.Errorf("a dead letter is on %s, want %s", m.Subject, want)
		}
		var d pipeline.DeadLetter
		if err := json.Unmarshal(m.Data, &d); err != nil {
			b.t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// vault reads a profile's personal fields.
func (b *bench) vault(profile string) map[string]string {
	b.t.Helper()
	kv, err := b.js.KeyValue(b.t.Context(), topology.Vault)
	if err != nil {
		b.t.Fatal(err)
	}
	entry, err := kv.Get(b.t.Context(), profile)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	decoded, err := vault.Decode(entry.Value())
	if err != nil {
		b.t.Fatal(err)
	}
	fields := map[string]string{}
	for name, f := range decoded.Fields {
		fields[name] = string(f.Value)
	}
	return fields
}

// outcomes reads the stage's metric.
func (b *bench) outcomes() map[string]float64 {
	b.t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "attune_normalize_calls_total" {
			continue
		}
		for _, m := range f.Metric {
			counted[m.Label[0].GetValue()] = m.Counter.GetValue()
		}
	}
	return counted
}

// script writes calls from lines such as "c1 track u=anna a=phone", with prefix before each id.
func script(prefix, lines string) []string {
	var calls []string
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		call := map[string]any{"messageId": prefix + words[0], "type": words[1], "event": "Product Viewed"}
		for _, w := range words[2:] {
			name, value, _ := strings.Cut(w, "=")
			switch name {
			case "u":
				call["userId"] = prefix + value
			case "a":
				call["anonymousId"] = prefix + value
			case "was":
				call["previousId"] = prefix + value
			case "email":
				call["traits"] = map[string]any{"email": value}
			default:
				panic(line)
			}
		}
		data, err := json.Marshal(call)
		if err != nil {
			panic(err)
		}
		calls = append(calls, string(data))
	}
	return calls
}

// shape names the profiles of calls a, b, … in the order in which they come: "a a b".
func shape(profiles map[string]string, prefix string, ids ...string) string {
	var names, out []string
	for _, id := range ids {
		p := profiles[prefix+id]
		if p == "" {
			out = append(out, "-")
			continue
		}
		i := slices.Index(names, p)
		if i < 0 {
			i = len(names)
			names = append(names, p)
		}
		out = append(out, string(rune('a'+i)))
	}
	return strings.Join(out, " ")
}

func ids(lines string) []string {
	var all []string
	for line := range strings.Lines(lines) {
		if words := strings.Fields(line); len(words) > 0 && !slices.Contains(all, words[0]) {
			all = append(all, words[0])
		}
	}
	return all
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", patience, what)
		}
	}
}

func key(parts ...any) string { return fmt.Sprint(parts...) }
