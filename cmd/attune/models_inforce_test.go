package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
)

// Models come into force in the middle of a log: what lies before their record is scored by those before, what lies
// after it by them, by a worker that runs, by one that takes over, and by a replay.
func TestModelsComeIntoForceInTheMiddleOfALog(t *testing.T) {
	js := connected(t, enginetest.NATS(t))
	settings := topology.DefaultConfig()
	settings.Partitions = 1
	if err := topology.Ensure(t.Context(), js, settings); err != nil {
		t.Fatal(err)
	}
	definitions, err := newDefinitions(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	other := enrich.DefaultModels()
	other.CLV.Spend.V *= 3
	object, err := json.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	builtIn, err := json.Marshal(enrich.DefaultModels())
	if err != nil {
		t.Fatal(err)
	}

	orders := uint64(0)
	order := func() {
		at := event.Instant(1_700_000_000_000) + event.Instant(orders)*7*24*3600_000
		e := event.Event{
			ID: fmt.Sprint(orders), Type: event.Track, Name: event.OrderCompleted, Profile: "p", Occurred: at, Accepted: at,
			Properties: event.Object(`{"revenue":20}`), Source: event.Source{Name: "test", Ordinal: orders + 1, After: orders},
		}
		data, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), topology.Subject(topology.Events, 0), data); err != nil {
			t.Fatal(err)
		}
		orders++
	}
	apply := func(object []byte) {
		if _, changed, err := definitions.store.Apply(t.Context(), pipeline.KindModels, object, time.UnixMilli(1_700_000_000_000)); err != nil || !changed {
			t.Fatalf("apply: %v, %v", changed, err)
		}
	}
	order()
	order()
	stop := runCustomers(t, js, definitions)
	apply(object) // position 3, while the worker runs
	order()
	order()
	awaitCommit(t, js, 5)
	stop()
	order() // for one that takes over, which has to load them
	stop = runCustomers(t, js, definitions)
	awaitCommit(t, js, 6)
	apply(builtIn) // back to what was before: position 7
	order()
	awaitCommit(t, js, 8)
	stop()

	scored, versions := map[uint64]event.Money{}, map[uint64]uint64{}
	readCommits(t, js, func(commit *pipeline.Commit, facts *pipeline.Facts) {
		for _, e := range facts.Events {
			scored[e.Position], versions[e.Position] = e.CLV, commit.Controls[pipeline.KindModels].Version
		}
	})
	want := map[uint64]event.Money{}
	for i, position := range []uint64{1, 2, 4, 5, 6, 8} {
		model := clv.CDNOW()
		if position > 3 && position < 7 {
			model = other.CLV
		}
		past := clv.Purchases{Repeats: float64(i), LastWeek: float64(i), AgeWeeks: float64(i)}
		if i > 0 {
			past.MeanSpend = 20
		}
		want[position] = event.Money(math.Round(model.Value(past, enrich.DefaultConfig().HorizonWeeks)*100)) * (event.MoneyUnit / 100)
	}
	if diff := cmp.Diff(want, scored); diff != "" {
		t.Errorf("values by position (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[uint64]uint64{1: 0, 2: 0, 4: 1, 5: 1, 6: 1, 8: 2}, versions); diff != "" {
		t.Errorf("versions in force by position (-want +got):\n%s", diff)
	}

	again := func(load func(context.Context, pipeline.Controls) (*pipeline.Chain, error)) *replay.Report {
		replayer, err := replay.New(replay.Config{JetStream: js, Load: load, Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		report, _, err := replayer.Partition(t.Context(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if report := again(definitions.chain); !report.Equal() || report.Records != 8 {
		t.Errorf("replay: %+v", report)
	}
	deaf := again(func(ctx context.Context, _ pipeline.Controls) (*pipeline.Chain, error) {
		return definitions.chain(ctx, nil)
	})
	if deaf.Equal() || deaf.First.Position != 4 {
		t.Errorf("a replay that goes on with the built-in models: %+v", deaf)
	}
}

func TestAnObjectThatIsNoModelIsRefused(t *testing.T) {
	for object, says := range map[string]string{
		"{": "unexpected end", "{}": "no counts", `{"clv":{"mbgnbd":{"r":-1,"alpha":1,"a":1,"b":1},"gammagamma":{"p":1,"q":2,"v":1},"margin":1}}`: "mbgnbd.r is -1",
	} {
		if _, err := enrich.DecodeModels([]byte(object)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", object, err, says)
		}
	}
}

// runCustomers runs the customer chain on partition 0 until stop is called; its commits stay.
func runCustomers(t *testing.T, js jetstream.JetStream, definitions *definitions) (stop func()) {
	t.Helper()
	customers, err := pipeline.NewCustomer(pipeline.CustomerConfig{
		JetStream: js, Load: definitions.chain, Readers: func(int) []string { return []string{"nobody"} },
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return startRouter(t, js, []handler{{"customer-0", topology.Subject(topology.Events, 0), customers.Subscriber(), nothing(customers.Handle)}})
}

func awaitCommit(t *testing.T, js jetstream.JetStream, position uint64) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		reached := uint64(0)
		readCommits(t, js, func(c *pipeline.Commit, _ *pipeline.Facts) { reached = c.Position })
		if reached >= position {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the newest commit stands at %d, not at %d", reached, position)
		}
	}
}

// readCommits goes through all commits of partition 0.
func readCommits(t *testing.T, js jetstream.JetStream, take func(*pipeline.Commit, *pipeline.Facts)) {
	t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), topology.Commits)
	if err != nil {
		t.Fatal(err)
	}
	for next := uint64(1); ; {
		m, err := stream.GetMsg(t.Context(), next, jetstream.WithGetMsgSubject(topology.Subject(topology.Commits, 0)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		next = m.Sequence + 1
		commit, err := codec.Decode(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		facts, err := codec.Facts(commit)
		if err != nil {
			t.Fatal(err)
		}
		take(commit, &facts)
	}
}
