package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// installed is Attune's streams on a broker of the test's own, with the definitions and models that are in force there:
// none at first. Nothing works on them.
type installed struct {
	t           *testing.T
	js          jetstream.JetStream
	definitions *definitions
	file        string // attune.yaml, by which commands find it
	appended    uint64 // events in partition 0
}

// install makes the streams with so many partitions. settings are further lines of attune.yaml.
func install(t *testing.T, partitions int, settings ...string) *installed {
	t.Helper()
	broker := enginetest.NATS(t)
	i := &installed{t: t, js: connected(t, broker), file: filepath.Join(t.TempDir(), "attune.yaml")}
	c := topology.DefaultConfig()
	c.Partitions = partitions
	if err := topology.Ensure(t.Context(), i.js, c); err != nil {
		t.Fatal(err)
	}
	var err error
	if i.definitions, err = newDefinitions(t.Context(), i.js, partitions); err != nil {
		t.Fatal(err)
	}
	lines := append([]string{fmt.Sprintf("nats: {url: %q}", broker.URL())}, settings...)
	if err := os.WriteFile(i.file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

// printed is what a command prints there, which must succeed.
func (i *installed) printed(in string, args ...string) string {
	i.t.Helper()
	return string(printed(i.t, in, append(args, "--config", i.file)...))
}

// model keeps a trained model and puts it in force.
func (i *installed) model(object modelObject, at time.Time) {
	i.t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := i.definitions.store.Add(i.t.Context(), pipeline.KindModels, data); err != nil {
		i.t.Fatal(err)
	}
	if _, _, err := i.definitions.store.Apply(i.t.Context(), pipeline.KindModels, data, at); err != nil {
		i.t.Fatal(err)
	}
}

// append puts an event of the customer p at the end of partition 0.
func (i *installed) append(at event.Instant, e event.Event) {
	i.t.Helper()
	n := i.appended
	e.ID, e.Profile, e.Occurred, e.Accepted = fmt.Sprint(n), "p", at, at
	e.Source = event.Source{Name: "test", Ordinal: n + 1, After: n}
	data, err := e.Encode()
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := i.js.Publish(i.t.Context(), topology.Subject(topology.Events, 0), data); err != nil {
		i.t.Fatal(err)
	}
	i.appended++
}

// chain runs the customer chain on partition 0 until stop is called; its commits stay.
func (i *installed) chain() (stop func()) {
	i.t.Helper()
	customers, err := pipeline.NewCustomer(pipeline.CustomerConfig{
		JetStream: i.js, Load: i.definitions.chain, Readers: func(int) []string { return []string{"nobody"} },
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return startRouter(i.t, i.js, []handler{{"customer-0", topology.Subject(topology.Events, 0), customers.Subscriber(), nothing(customers.Handle)}})
}

// awaitCommit waits until partition 0 is committed up to a position of its log.
func (i *installed) awaitCommit(position uint64) {
	i.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		reached := uint64(0)
		for c := range i.commits(topology.Subject(topology.Commits, 0)) {
			reached = c.Position
		}
		if reached >= position {
			return
		}
		if time.Now().After(deadline) {
			i.t.Fatalf("the newest commit stands at %d, not at %d", reached, position)
		}
	}
}

// storedCommit is a commit as the broker holds it.
type storedCommit struct {
	*pipeline.Commit
	facts    pipeline.Facts
	sequence uint64
	at       time.Time
}

// commits are those of one partition's subject, or of all, in their order.
func (i *installed) commits(subject string) iter.Seq[storedCommit] {
	i.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		i.t.Fatal(err)
	}
	stream, err := i.js.Stream(i.t.Context(), topology.Commits)
	if err != nil {
		i.t.Fatal(err)
	}
	return func(yield func(storedCommit) bool) {
		for next := uint64(1); ; {
			m, err := stream.GetMsg(i.t.Context(), next, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				i.t.Fatal(err)
			}
			next = m.Sequence + 1
			commit, err := codec.Decode(m.Data)
			if err != nil {
				i.t.Fatal(err)
			}
			facts, err := codec.Facts(commit)
			if err != nil {
				i.t.Fatal(err)
			}
			if !yield(storedCommit{commit, facts, m.Sequence, m.Time}) {
				return
			}
		}
	}
}
