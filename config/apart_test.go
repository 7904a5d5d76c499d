package config_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"attune/stages/enrich"

	"github.com/google/go-cmp/cmp"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// apart is a stage in a process of its own: the event, the profile and what was stated so far reach it as bytes,
// and what it makes of them leaves it as bytes.
type apart struct {
	stage pipeline.Stage
	wire  *wire
}

type wire struct {
	t       *testing.T
	commits *pipeline.CommitCodec
	hops    int
}

func (a apart) Name() string { return a.stage.Name() }

func (a apart) Due(p *profile.Profile) event.Instant { return a.stage.Due(a.wire.profile(p)) }

func (a apart) Apply(s *pipeline.Step) {
	there := a.wire.step(s)
	a.stage.Apply(there)
	back := a.wire.step(there)
	s.Changes, s.Decisions, s.Deliveries = back.Changes, back.Decisions, back.Deliveries
	*s.Profile = *back.Profile
}

// step carries a step over.
func (w *wire) step(s *pipeline.Step) *pipeline.Step {
	w.hops++
	over := *s
	over.Profile = w.profile(s.Profile)
	if s.Event != nil {
		data, err := s.Event.Encode()
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := event.Decode(data)
		if err != nil {
			w.t.Fatal(err)
		}
		over.Event = &e
	}
	stated, err := w.commits.AppendFacts(nil, nil, &pipeline.Facts{Changes: s.Changes, Decisions: s.Decisions})
	if err != nil {
		w.t.Fatal(err)
	}
	commit := pipeline.Commit{Position: s.Position, Deliveries: s.Deliveries}
	if len(stated) > 0 {
		commit.Facts = pipeline.AppendRecordFacts(nil, s.Position, stated)
	}
	data, err := w.commits.Encode(&commit)
	if err != nil {
		w.t.Fatal(err)
	}
	decoded, err := w.commits.Decode(data)
	if err != nil {
		w.t.Fatal(err)
	}
	facts, err := w.commits.Facts(decoded)
	if err != nil {
		w.t.Fatal(err)
	}
	over.Changes, over.Decisions, over.Deliveries = facts.Changes, facts.Decisions, decoded.Deliveries
	return &over
}

func (w *wire) profile(p *profile.Profile) *profile.Profile {
	over, err := profile.Decode(w.encode(p))
	if err != nil {
		w.t.Fatal(err)
	}
	return over
}

func (w *wire) encode(p *profile.Profile) []byte {
	return profile.Encode(p)
}

// shopper draws the events of a shop's customers.
type shopper struct {
	chance *rand.Rand
	now    event.Instant
	n      int
}

func (s *shopper) next() event.Event {
	s.n++
	s.now += event.Instant(s.chance.IntN(20 * 60_000))
	id := fmt.Sprint("p", s.chance.IntN(25))
	e := event.Event{
		ID: fmt.Sprint("e", s.n), Type: event.Track, Profile: id, User: "u" + id, Accepted: s.now,
		Occurred: s.now - event.Instant(s.chance.IntN(3_600_000)), Historical: s.chance.IntN(12) == 0,
		Source: event.Source{Name: "test", Ordinal: uint64(s.n), After: uint64(s.n - 1)},
	}
	product := s.chance.IntN(9)
	switch kind := s.chance.IntN(20); {
	case kind < 7:
		e.Name = "Product Viewed"
		e.Properties = event.Object(fmt.Sprintf(`{"product_id":"sku-%d","category":"%s","price":%d.95}`, product, []string{"sneakers", "boots", "hats"}[product%3], 5+product))
	case kind < 11:
		e.Name = "Product Added"
		e.Properties = event.Object(fmt.Sprintf(`{"cart_id":"c-%s-%d","product_id":"sku-%d","name":"Thing <%d> & \"co\"","price":9.5,"quantity":2}`, id, s.n/200, product, product))
	case kind < 14:
		e.Name = event.OrderCompleted
		e.Properties = event.Object(fmt.Sprintf(`{"order_id":"o%d","revenue":%d.37,"currency":"EUR"}`, s.n, 10+s.chance.IntN(90)))
	case kind < 15:
		e.Name = event.OrderRefunded
		e.Properties = event.Object(fmt.Sprintf(`{"order_id":"o%d","revenue":3.01}`, s.n))
	case kind < 17:
		e.Type = event.Identify
		e.Traits = event.Object(fmt.Sprintf(`{"plan":"%d","tags":["a","ü"],"nested":{"x":1.50}}`, product))
		e.Consent = map[string]bool{"email": s.chance.IntN(5) > 0}
	case kind < 18:
		e.Type, e.Name = event.Page, "Home"
	default:
		e.Type, e.ID, e.User, e.Historical = event.Wake, "", "", false
	}
	return e
}

// The customer stages, each behind an encoding of everything that reaches and leaves it, state the same facts as
// the chain that runs them in one worker, byte for byte, order the same mails and leave the same profiles.
func TestStagesApartStateTheSameFacts(t *testing.T) {
	workspace, _, err := config.Example(0)
	if err != nil {
		t.Fatal(err)
	}
	fused, err := workspace.Chain(7, enrich.DefaultModels())
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t}
	if w.commits, err = pipeline.NewCommitCodec(); err != nil {
		t.Fatal(err)
	}
	split := *fused
	split.Stages = nil
	for _, stage := range fused.Stages {
		split.Stages = append(split.Stages, apart{stage, w})
	}

	log := &shopper{chance: rand.New(rand.NewPCG(3, 14)), now: 1_700_000_000_000}
	here, there := map[string]*profile.Profile{}, map[string]*profile.Profile{}
	one, other := pipeline.NewRunningHash(nil), pipeline.NewRunningHash(nil)
	flips, fired, refused, mails := 0, 0, 0, 0
	for position := uint64(1); position <= 3000; position++ {
		e := log.next()
		if here[e.Profile] == nil {
			here[e.Profile], there[e.Profile] = profile.New(e.Profile), profile.New(e.Profile)
		}
		want, got := run(t, w, fused, here[e.Profile], e, position, one), run(t, w, &split, there[e.Profile], e, position, other)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("position %d, %s %s (-in one +apart):\n%.3000s", position, e.Type, e.Name, diff)
		}
		if !slices.Equal(w.encode(here[e.Profile]), w.encode(there[e.Profile])) {
			t.Fatalf("position %d: the profiles differ: %s", position, cmp.Diff(here[e.Profile], there[e.Profile]))
		}
		flips, mails = flips+len(want.Facts.Changes), mails+len(want.Deliveries)
		for _, d := range want.Facts.Decisions {
			if d.Outcome == pipeline.Fired {
				fired++
			} else {
				refused++
			}
		}
	}
	if diff := cmp.Diff(one.Sum(), other.Sum()); diff != "" {
		t.Errorf("running hash: %s", diff)
	}
	if flips < 50 || fired < 50 || refused < 50 || mails != fired || w.hops < 18_000 {
		t.Errorf("%d flips, %d mails fired, %d refused, %d mails ordered, %d hops: the test shows little", flips, fired, refused, mails, w.hops)
	}
}

// run applies a record and adds what it states to the hash.
func run(t *testing.T, w *wire, c *pipeline.Chain, p *profile.Profile, e event.Event, position uint64, hash *pipeline.RunningHash) pipeline.Result {
	t.Helper()
	r, err := c.Apply(p, &e, position)
	if err != nil {
		t.Fatal(err)
	}
	record, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	data, err := w.commits.AppendFacts(nil, record, &r.Facts)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 0 {
		hash.Add(position, data)
	}
	return r
}
