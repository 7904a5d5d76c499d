package trigger_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
	"attune/stages/trigger"
)

var start = event.At(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))

// tester is anything that a helper can fail: a test, a benchmark or a rapid check.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// known stands in for the stages before: consents, orders, and memberships that "Enter" and "Exit" events and,
// with a property "for", time change.
type known struct{}

func (known) Name() string { return "known" }

func (known) Apply(s *pipeline.Step) {
	p, e := s.Profile, s.Event
	if p.Segments == nil {
		p.Segments = map[string]profile.Membership{}
	}
	if p.Consents == nil {
		p.Consents = map[string]profile.Consent{}
	}
	if e == nil {
		for id, m := range p.Segments {
			if m.Until != 0 && m.Until <= s.Now {
				p.Segments[id] = profile.Membership{Since: s.Now}
				s.Flip(id, false)
			}
		}
		return
	}
	for channel, granted := range e.Consent {
		p.Consents[channel] = profile.Consent{Granted: granted, At: e.Occurred}
	}
	id, _ := e.Properties.Get("segment").Text()
	switch {
	case e.Type != event.Track:
	case e.Name == event.OrderCompleted:
		p.Orders.Count++
		p.Orders.Revenue += 10 * event.MoneyUnit
	case e.Name == "Enter" && !p.In(id):
		m := profile.Membership{In: true, Since: s.Now}
		if text, ok := e.Properties.Get("for").Text(); ok {
			d, err := time.ParseDuration(text)
			if err != nil {
				panic(err)
			}
			m.Until = s.Now.Add(d)
		}
		p.Segments[id] = m
		s.Flip(id, true)
	case e.Name == "Exit" && p.In(id):
		p.Segments[id] = profile.Membership{Since: s.Now}
		s.Flip(id, false)
	}
}

func (known) Due(p *profile.Profile) event.Instant {
	var due event.Instant
	for _, m := range p.Segments {
		if m.Until != 0 && (due == 0 || m.Until < due) {
			due = m.Until
		}
	}
	return due
}

func compiler(t tester) *rule.Compiler {
	t.Helper()
	c, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func segments() map[string]bool { return map[string]bool{"vip": true, "lapsed": true} }

// read decodes campaigns as the workspace's loader does: strictly.
func read(t tester, text string) []trigger.Campaign {
	t.Helper()
	var campaigns []trigger.Campaign
	if err := yaml.UnmarshalWithOptions([]byte(text), &campaigns, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return campaigns
}

func stage(t tester, campaigns string) *trigger.Stage {
	t.Helper()
	st, err := trigger.New(read(t, campaigns), compiler(t), segments())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// run drives one customer through a chain, with wake-ups as the broker would hold them. Only events take a
// position in its log, so that ids can be compared between runs with different wake-ups.
type run struct {
	t       tester
	chain   *pipeline.Chain
	profile *profile.Profile
	events  uint64
	wake    event.Instant // held by the broker
	late    time.Duration // by which each wake-up comes late; negative: none comes at all

	decisions  []pipeline.Decision
	deliveries []pipeline.Delivery
}

func newRun(t tester, late time.Duration, stages ...pipeline.Stage) *run {
	t.Helper()
	chain := &pipeline.Chain{Stages: append([]pipeline.Stage{known{}}, stages...), Version: 1, Definitions: "hash"}
	return &run{t: t, chain: chain, profile: profile.New("p1"), late: late}
}

// at lets time pass: wake-ups that come before now are handled.
func (r *run) at(now event.Instant) {
	r.t.Helper()
	for r.late >= 0 && r.wake != 0 && r.wake.Add(r.late) < now {
		at := r.wake.Add(r.late)
		r.wake = 0
		r.apply(&event.Event{Type: event.Wake, Profile: "p1", Accepted: at}, 1<<32+uint64(at))
	}
}

func (r *run) event(e event.Event) {
	r.t.Helper()
	r.at(e.Accepted)
	r.events++
	r.apply(&e, r.events)
}

// end runs all that is owed by then.
func (r *run) end(now event.Instant) {
	r.t.Helper()
	r.at(now)
	r.apply(&event.Event{Type: event.Wake, Profile: "p1", Accepted: now}, 1<<60)
}

func (r *run) apply(e *event.Event, position uint64) {
	r.t.Helper()
	result, err := r.chain.Apply(r.profile, e, position)
	if err != nil {
		r.t.Fatal(err)
	}
	if result.Wake != 0 {
		r.wake = result.Wake
	}
	r.decisions = append(r.decisions, result.Facts.Decisions...)
	r.deliveries = append(r.deliveries, result.Deliveries...)
	// A profile must survive being stored between any two records.
	if r.profile, err = profile.Decode(profile.Encode(r.profile)); err != nil {
		r.t.Fatal(err)
	}
	if !slices.IsSortedFunc(r.profile.Waits, func(a, b profile.Wait) int {
		return cmp.Or(cmp.Compare(a.Due, b.Due), strings.Compare(a.Campaign, b.Campaign), strings.Compare(a.Key, b.Key))
	}) {
		r.t.Fatalf("waits out of order: %+v", r.profile.Waits)
	}
}

// print is one line per decision: when, what, why.
func print(decisions []pipeline.Decision) string {
	var b strings.Builder
	for _, d := range decisions {
		fmt.Fprintf(&b, "%s %s", d.At.Sub(start), d.Campaign)
		if d.Key != "" {
			fmt.Fprintf(&b, "[%s]", d.Key)
		}
		fmt.Fprintf(&b, " %s", d.Outcome)
		if d.Reason != "" {
			fmt.Fprintf(&b, " %s", d.Reason)
		}
		if d.Detail != "" {
			fmt.Fprintf(&b, " (%s)", d.Detail)
		}
		if d.Cause != "" {
			fmt.Fprintf(&b, " <- %s", d.Cause)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// facts are the decisions without what depends on when they were run.
func facts(decisions []pipeline.Decision) []pipeline.Decision {
	out := slices.Clone(decisions)
	for i := range out {
		out[i].Position = 0
	}
	return out
}

var _ tester = (*testing.T)(nil)
