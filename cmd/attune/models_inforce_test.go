package main

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
)

// Models come into force in the middle of a log: what lies before their record is scored by those before, what lies
// after it by them, by a worker that runs, by one that takes over, and by a replay.
func TestModelsComeIntoForceInTheMiddleOfALog(t *testing.T) {
	a := install(t, 1)
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

	order := func() {
		at := event.Instant(1_700_000_000_000) + event.Instant(a.appended)*7*24*3600_000
		a.append(at, event.Event{Type: event.Track, Name: event.OrderCompleted, Properties: event.Object(`{"revenue":20}`)})
	}
	apply := func(object []byte) {
		if _, changed, err := a.definitions.store.Apply(t.Context(), pipeline.KindModels, object, time.UnixMilli(1_700_000_000_000)); err != nil || !changed {
			t.Fatalf("apply: %v, %v", changed, err)
		}
	}
	order()
	order()
	stop := a.chain()
	apply(object) // position 3, while the worker runs
	order()
	order()
	a.awaitCommit(5)
	stop()
	order() // for one that takes over, which has to load them
	stop = a.chain()
	a.awaitCommit(6)
	apply(builtIn) // back to what was before: position 7
	order()
	a.awaitCommit(8)
	stop()

	scored, versions := map[uint64]event.Money{}, map[uint64]uint64{}
	for commit := range a.commits(topology.Subject(topology.Commits, 0)) {
		for _, e := range commit.facts.Events {
			scored[e.Position], versions[e.Position] = e.CLV, commit.Controls[pipeline.KindModels].Version
		}
	}
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
		replayer, err := replay.New(replay.Config{JetStream: a.js, Load: load, Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		report, _, err := replayer.Partition(t.Context(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if report := again(a.definitions.chain); !report.Equal() || report.Records != 8 {
		t.Errorf("replay: %+v", report)
	}
	deaf := again(func(ctx context.Context, _ pipeline.Controls) (*pipeline.Chain, error) {
		return a.definitions.chain(ctx, nil)
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
