package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// alarm is a stage that owes one decision, `after` each event, and states it at its due instant. Its state is
// one wait per event, so that it shows what the chain ran and when.
type alarm struct {
	name  string
	after time.Duration
	times int // how often it owes again after a due step, `after` each
}

func (a alarm) Name() string { return a.name }

func (a alarm) Apply(s *pipeline.Step) {
	mine := func(w profile.Wait) bool { return w.Campaign == a.name }
	if s.Event != nil {
		s.Profile.Waits = append(s.Profile.Waits, profile.Wait{Campaign: a.name, Due: s.Now.Add(a.after), Cause: s.Event.ID})
		return
	}
	for i := 0; i < len(s.Profile.Waits); i++ {
		w := &s.Profile.Waits[i]
		if !mine(*w) || w.Due > s.Now {
			continue
		}
		s.Decide(pipeline.Decision{ID: fmt.Sprint(w.Cause, "#", w.Position), Campaign: a.name, Outcome: pipeline.Fired})
		if w.Position++; int(w.Position) <= a.times {
			w.Due = s.Now.Add(a.after)
			continue
		}
		s.Profile.Waits = slices.Delete(s.Profile.Waits, i, i+1)
		i--
	}
}

func (a alarm) Due(p *profile.Profile) event.Instant {
	var due event.Instant
	for _, w := range p.Waits {
		if w.Campaign == a.name && (due == 0 || w.Due < due) {
			due = w.Due
		}
	}
	return due
}

// stuck never settles what it owes.
type stuck struct{ step event.Instant }

func (stuck) Name() string                            { return "stuck" }
func (stuck) Apply(*pipeline.Step)                    {}
func (st stuck) Due(p *profile.Profile) event.Instant { return p.Now + st.step }

// spy records the steps that it sees and what earlier stages stated in them.
type spy struct{ seen *[]string }

func (spy) Name() string { return "spy" }
func (sp spy) Apply(s *pipeline.Step) {
	what := "due"
	if s.Event != nil {
		what = s.Event.ID
	}
	*sp.seen = append(*sp.seen, fmt.Sprintf("%s@%d decisions=%d position=%d version=%d/%s", what, s.Now, len(s.Decisions), s.Position, s.Version, s.Definitions))
}
func (spy) Due(*profile.Profile) event.Instant { return 0 }

func track(id string, accepted event.Instant) *event.Event {
	return &event.Event{ID: id, Type: event.Track, Name: "Viewed", Profile: "p", Occurred: accepted, Accepted: accepted}
}

func wake(at event.Instant) *event.Event {
	return &event.Event{Type: event.Wake, Profile: "p", Accepted: at}
}

func decided(decisions []pipeline.Decision) []string {
	var out []string
	for _, d := range decisions {
		out = append(out, fmt.Sprintf("%s %s@%d", d.Campaign, d.ID, d.At))
	}
	return out
}

func TestChainRunsWhatIsOwedFirst(t *testing.T) {
	var seen []string
	c := &pipeline.Chain{Stages: []pipeline.Stage{alarm{name: "a", after: 10 * time.Millisecond}, spy{&seen}}, Version: 3, Definitions: "abc"}
	p := profile.New("p")

	r, err := c.Apply(p, track("e1", 1000), 1)
	if err != nil {
		t.Fatal(err)
	}
	if r.Wake != 1010 || p.Armed != 1010 {
		t.Errorf("wake %d, armed %d, want both 1010", r.Wake, p.Armed)
	}
	r, err = c.Apply(p, track("e2", 1500), 2)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a e1#0@1010"}, decided(r.Facts.Decisions)); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if d := r.Facts.Decisions[0]; d.Profile != "p" || d.Position != 2 || d.Version != 3 {
		t.Errorf("decision %+v: want profile p, position 2, version 3", d)
	}
	want := []string{
		"e1@1000 decisions=0 position=1 version=3/abc",
		"due@1010 decisions=1 position=2 version=3/abc",
		"e2@1500 decisions=0 position=2 version=3/abc",
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if p.Applied != 2 || p.Now != 1500 {
		t.Errorf("applied %d, now %d, want 2 and 1500", p.Applied, p.Now)
	}
}

func TestChainClockNeverGoesBack(t *testing.T) {
	var seen []string
	c := &pipeline.Chain{Stages: []pipeline.Stage{spy{&seen}}}
	p := profile.New("p")
	for i, at := range []event.Instant{100, 50, 120} {
		if _, err := c.Apply(p, track("e", at), uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for i, now := range []string{"@100 ", "@100 ", "@120 "} {
		if !strings.Contains(seen[i], now) {
			t.Errorf("step %d: %s, want now %s", i, seen[i], now)
		}
	}
}

func TestChainArming(t *testing.T) {
	c := &pipeline.Chain{Stages: []pipeline.Stage{alarm{name: "a", after: 100 * time.Millisecond}}}
	p := profile.New("p")
	steps := []struct {
		name  string
		event *event.Event
		wake  event.Instant
		armed event.Instant
		fired int
		facts int
	}{
		{"an event arms", track("e1", 1000), 1100, 1100, 0, 1},
		{"a later due instant leaves the armed one", track("e2", 1050), 0, 1100, 0, 1},
		{"a wake-up that comes early decides nothing and re-arms", wake(1099), 1100, 1100, 0, 0},
		{"a wake-up on time decides and arms the next", wake(1100), 1150, 1150, 1, 0},
		{"a stale one re-arms the same", wake(1100), 1150, 1150, 0, 0},
		{"a late one decides", wake(5000), 0, 0, 1, 0},
		{"one for nothing does nothing", wake(6000), 0, 0, 0, 0},
	}
	for i, st := range steps {
		r, err := c.Apply(p, st.event, uint64(i+1))
		if err != nil {
			t.Fatalf("%s: %v", st.name, err)
		}
		if r.Wake != st.wake || p.Armed != st.armed || len(r.Facts.Decisions) != st.fired || len(r.Facts.Events) != st.facts {
			t.Errorf("%s: wake %d armed %d decisions %d events %d, want %d %d %d %d", st.name,
				r.Wake, p.Armed, len(r.Facts.Decisions), len(r.Facts.Events), st.wake, st.armed, st.fired, st.facts)
		}
		if p.Applied != uint64(i+1) {
			t.Errorf("%s: applied %d, want %d", st.name, p.Applied, i+1)
		}
	}
}

func TestChainStampsEventsWithWhatIsKnownAfterThem(t *testing.T) {
	p := profile.New("p")
	c := &pipeline.Chain{Stages: []pipeline.Stage{stamp{}}}
	r, err := c.Apply(p, track("e1", 1000), 9)
	if err != nil {
		t.Fatal(err)
	}
	want := []pipeline.Enriched{{Event: *track("e1", 1000), Position: 9, CLV: 125000, CLVConfidence: 0.5, Alive: 0.75, Segments: []string{"a", "b"}}}
	if diff := cmp.Diff(want, r.Facts.Events); diff != "" {
		t.Errorf("enriched event (-want +got):\n%s", diff)
	}
	historical := track("e2", 1001)
	historical.Historical = true
	h, err := c.Apply(p, historical, 10)
	if err != nil {
		t.Fatal(err)
	}
	changes := []pipeline.SegmentChange{
		{Segment: "a", Profile: "p", At: 1000, Entered: true, Reason: pipeline.BecauseEvent, Position: 9},
		{Segment: "a", Profile: "p", At: 1001, Entered: true, Reason: pipeline.BecauseHistorical, Position: 10},
	}
	if diff := cmp.Diff(changes, slices.Concat(r.Facts.Changes, h.Facts.Changes)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// stamp sets scores and segments and flips one of them at each event.
type stamp struct{}

func (stamp) Name() string { return "stamp" }
func (stamp) Apply(s *pipeline.Step) {
	s.Profile.Scores = profile.Scores{CLV: 125000, Confidence: 0.5, Alive: 0.75}
	s.Profile.Segments = map[string]profile.Membership{"b": {In: true}, "a": {In: true}, "c": {}}
	s.Flip("a", true)
}
func (stamp) Due(*profile.Profile) event.Instant { return 0 }

func TestChainStopsAStageThatNeverSettles(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stage pipeline.Stage
		want  string
	}{
		{"owes the same instant again", stuck{0}, "still owes a step"},
		{"owes without end", stuck{1}, "owes more than 10000 steps"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &pipeline.Chain{Stages: []pipeline.Stage{tt.stage}}
			p := &profile.Profile{ID: "p9", Now: 1}
			_, err := c.Apply(p, track("e", 1_000_000), 4)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "p9 at position 4") {
				t.Errorf("error %v, want one that says %q and names profile and position", err, tt.want)
			}
		})
	}
}

// However late wake-ups come, twice, early or never: the decisions, their instants and their order are the same.
func TestChainDoesNotDependOnWakeUps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &pipeline.Chain{Stages: []pipeline.Stage{
			alarm{name: "a", after: 10 * time.Millisecond, times: 2}, alarm{name: "b", after: 25 * time.Millisecond},
		}}
		gaps := rapid.SliceOfN(rapid.IntRange(0, 60), 1, 8).Draw(t, "gaps")
		const end = 10_000
		run := func(wakes []event.Instant) ([]string, *profile.Profile) {
			p, position := profile.New("p"), uint64(0)
			var got []string
			apply := func(e *event.Event) {
				position++
				r, err := c.Apply(p, e, position)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, decided(r.Facts.Decisions)...)
			}
			now := event.Instant(1000)
			for i, gap := range gaps {
				for _, w := range wakes {
					if w >= now && w < now+event.Instant(gap) {
						apply(wake(w))
					}
				}
				now += event.Instant(gap)
				apply(track(fmt.Sprint("e", i), now))
			}
			apply(wake(end))
			return got, p
		}
		wakes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Instant {
			return event.Instant(rapid.IntRange(1000, 1500).Draw(t, "wake"))
		}), 0, 20).Draw(t, "wakes")
		slices.Sort(wakes)
		want, p := run(nil)
		got, q := run(wakes)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("decisions with wake-ups (-without +with):\n%s", diff)
		}
		if n := 4 * len(gaps); len(want) != n {
			t.Fatalf("%d decisions for %d events, want %d: %v", len(want), len(gaps), n, want)
		}
		if len(p.Waits) != 0 || len(q.Waits) != 0 || q.Armed != 0 {
			t.Fatalf("left over: %v, %v, armed %d", p.Waits, q.Waits, q.Armed)
		}
	})
}

// While anything is owed a wake-up is armed, and never later than the earliest thing owed.
func TestChainIsArmedWhileItOwes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &pipeline.Chain{Stages: []pipeline.Stage{alarm{name: "a", after: 20 * time.Millisecond}, alarm{name: "b", after: 7 * time.Millisecond}}}
		p := profile.New("p")
		var broker event.Instant // the wake-up that the broker holds
		now := event.Instant(1000)
		for i := range rapid.IntRange(1, 30).Draw(t, "records") {
			now += event.Instant(rapid.IntRange(0, 15).Draw(t, "gap"))
			e := track(fmt.Sprint("e", i), now)
			if broker != 0 && broker <= now && rapid.Bool().Draw(t, "wake") {
				e = wake(broker)
				broker = 0
			}
			r, err := c.Apply(p, e, uint64(i+1))
			if err != nil {
				t.Fatal(err)
			}
			if r.Wake != 0 {
				broker = r.Wake
			}
			if broker != p.Armed {
				t.Fatalf("the profile believes in a wake-up at %d, the broker holds %d", p.Armed, broker)
			}
			if due := c.Due(p); due != 0 && (broker == 0 || broker > due) {
				t.Fatalf("owes at %d, armed at %d", due, broker)
			}
		}
	})
}
