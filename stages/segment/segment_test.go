package segment

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

const hour = event.Instant(3_600_000)

var start = event.At(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))

func stage(t testing.TB, defs ...Definition) *Stage {
	t.Helper()
	c, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(defs, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func chain(version uint64, stages ...pipeline.Stage) *pipeline.Chain {
	return &pipeline.Chain{Stages: stages, Version: version, Definitions: fmt.Sprintf("hash-%d", version)}
}

// enrich does with traits, counts and consent what segments look at; siblings can't be imported.
type enrich struct{}

func (enrich) Name() string { return "enrich" }

func (enrich) Apply(s *pipeline.Step) {
	if s.Event == nil {
		return
	}
	p := s.Profile
	if name := s.Event.CountName(); name != "" {
		p.Happens(name).Count++
	}
	s.Event.Traits.Fields(func(name string, v event.Value) bool {
		if p.Traits == nil {
			p.Traits = map[string]profile.Trait{}
		}
		p.Traits[name] = profile.Trait{Value: event.Object(v.Raw()), At: s.Event.Occurred}
		return true
	})
	for channel, granted := range s.Event.Consent {
		if p.Consents == nil {
			p.Consents = map[string]profile.Consent{}
		}
		p.Consents[channel] = profile.Consent{Granted: granted, At: s.Event.Occurred}
	}
}

func (enrich) Due(*profile.Profile) event.Instant { return 0 }

// run applies events, each accepted at its own instant, and gives the flips as text.
func run(t testing.TB, c *pipeline.Chain, p *profile.Profile, events ...event.Event) []string {
	t.Helper()
	var flips []string
	for _, e := range events {
		r, err := c.Apply(p, &e, p.Applied+1)
		if err != nil {
			t.Fatal(err)
		}
		flips = append(flips, texts(r.Facts.Changes)...)
	}
	return flips
}

func texts(changes []pipeline.SegmentChange) []string {
	var flips []string
	for _, c := range changes {
		sign := map[bool]string{true: "+", false: "-"}[c.Entered]
		flips = append(flips, fmt.Sprintf("%s%s at %s (%s)", sign, c.Segment, c.At.Sub(start), c.Reason))
	}
	return flips
}

func track(name string, occurred, accepted event.Instant, properties string) event.Event {
	return event.Event{Type: event.Track, Name: name, Occurred: start + occurred, Accepted: start + accepted, Properties: event.Object(properties)}
}

func wake(at event.Instant) event.Event {
	return event.Event{Type: event.Wake, Occurred: start + at, Accepted: start + at}
}

func TestNewRefuses(t *testing.T) {
	c, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	_, err = New([]Definition{
		{ID: "Hot Fans", When: "true"}, {ID: "ok", When: "true"}, {ID: "ok", When: "true"}, {ID: "empty"},
		{ID: "wrong", When: "ever(\"A\") &&\n evr(\"B\")"}, {ID: "nested", When: `in_segment("oh")`}, {ID: strings.Repeat("x", 64), When: "true"},
	}, c)
	if err == nil {
		t.Fatal("want errors")
	}
	for _, want := range []string{
		`segment "Hot Fans": id: "Hot Fans" is no segment id`, `such as "hot-fans"`, `segment "ok": id: is defined twice`, `segment "empty": when: is empty`,
		`segment "wrong": when: 2:2: the function evr() is unknown (did you mean ever?)`, `segment "nested": when: 1:12: the segment "oh" is unknown (did you mean ok?)`, `segment "xxxx`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	var e *rule.Error
	if !errors.As(err, &e) || e.Line != 2 {
		t.Errorf("no *rule.Error inside: %+v", e)
	}
	if n := len(rule.Errors(err)); n != 2 {
		t.Errorf("%d mistakes of rules inside, want 2", n)
	}
	for id, valid := range map[string]bool{"a": true, "0-a": true, "a-": true, "": false, "-a": false, "a_b": false, "A": false, "é": false, strings.Repeat("x", 63): true} {
		if err := (Definition{ID: id, When: "true"}).Validate(); (err == nil) != valid {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

// Segments that don't listen cost nothing: compare the two.
func BenchmarkApply(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			defs := []Definition{hot}
			for i := range others {
				defs = append(defs, Definition{
					ID:   fmt.Sprintf("other-%d", i),
					When: fmt.Sprintf(`did("Other %d", "24h") && trait("t%d") == "x" && consent("email") && customer.orders > 5`, i, i),
				})
			}
			s := stage(b, defs...)
			p := profile.New("u1")
			p.Applied = 1
			e := track("Product Viewed", 0, 0, `{"category":"sneakers"}`)
			step := &pipeline.Step{Event: &e, Profile: p, Version: 1}
			b.ReportAllocs()
			for b.Loop() {
				e.Occurred += 1000
				p.Now = e.Occurred
				step.Now, step.Changes, step.Before.Profile = p.Now, step.Changes[:0], *p
				s.Apply(step)
			}
			if !p.In(hot.ID) {
				b.Fatal("not in the segment: the benchmark measures nothing")
			}
		})
	}
}
