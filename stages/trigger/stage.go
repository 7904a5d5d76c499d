package trigger

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
	"attune/stages/trigger/recommend"
)

// The names that a mail's content sees as event.name when a segment triggered the campaign; its properties
// are then {"segment": id}.
const (
	SegmentEntered = "segment_entered"
	SegmentExited  = "segment_exited"
)

// Stage runs the campaigns of one version of the definitions. It never changes and is safe for concurrent use
// on different profiles. What it costs does not grow with campaigns that don't listen to the event.
type Stage struct {
	campaigns map[string]*campaign // by id
	onEvent   map[string][]*campaign
	onEnter   map[string][]*campaign
	onExit    map[string][]*campaign
	unless    map[string][]*campaign
	asks      []string
	foretold  bool // whether some rule asks for a propensity
	leaves    *rule.LeafSet
	products  recommend.Products
	small     map[string]int // segments with fewer members than that, which they must have
}

var _ pipeline.Stage = (*Stage)(nil)

// New makes the stage. segments are the ids that campaigns may name. Its error joins one *FieldError per mistake.
func New(campaigns []Campaign, compiler *rule.Compiler, segments map[string]bool) (*Stage, error) {
	st := &Stage{
		campaigns: map[string]*campaign{}, onEvent: map[string][]*campaign{}, onEnter: map[string][]*campaign{},
		onExit: map[string][]*campaign{}, unless: map[string][]*campaign{},
	}
	var (
		errs  []error
		rules []*rule.Rule
	)
	sorted := slices.SortedStableFunc(slices.Values(campaigns), func(a, b Campaign) int { return strings.Compare(a.ID, b.ID) })
	for _, definition := range sorted {
		c, err := compile(definition, compiler, segments)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if st.campaigns[c.ID] != nil {
			errs = append(errs, &FieldError{Campaign: c.ID, Field: "id", Value: c.ID, Problem: "names two campaigns", Hint: "each needs an id of its own"})
			continue
		}
		st.campaigns[c.ID] = c
		listen(st.onEvent, c.On.Event, c)
		listen(st.onEnter, c.On.SegmentEntered, c)
		listen(st.onExit, c.On.SegmentExited, c)
		if c.Unless != nil {
			listen(st.unless, c.Unless.Event, c)
		}
		for _, r := range []*rule.Rule{c.where, c.audience} {
			if r != nil {
				rules = append(rules, r)
				st.asks = append(st.asks, r.Reads().Totals...)
				st.foretold = st.foretold || r.Reads().Propensity()
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("trigger: %w", err)
	}
	slices.Sort(st.asks)
	st.asks = slices.Compact(st.asks)
	st.leaves = rule.NewLeafSet(rules...)
	return st, nil
}

// Recommend lets the campaigns recommend products from now on. It is to be called before the stage is used.
func (st *Stage) Recommend(products recommend.Products) { st.products = products }

// Guard has the given segments taken for too small, each with how many members it must have. It is to be called before
// the stage is used.
func (st *Stage) Guard(small map[string]int) { st.small = small }

func listen(index map[string][]*campaign, name string, c *campaign) {
	if name != "" {
		index[name] = append(index[name], c)
	}
}

// Name is "trigger".
func (*Stage) Name() string { return "trigger" }

// Asks are the names of the events whose all-time count the campaigns' rules ask for, sorted.
func (st *Stage) Asks() []string { return slices.Clone(st.asks) }

// AsksPropensity tells whether some campaign's rule asks for a propensity.
func (st *Stage) AsksPropensity() bool { return st.foretold }

// MaxBytes is what the campaigns' rules take at most in a stored profile.
func (st *Stage) MaxBytes() int { return st.leaves.MaxBytes() }

// Leaves are what the campaigns' rules look back at.
func (st *Stage) Leaves() *rule.LeafSet { return st.leaves }

// Campaigns are the ids of the campaigns, sorted.
func (st *Stage) Campaigns() []string { return slices.Sorted(maps.Keys(st.campaigns)) }

// Due is the earliest wait's, and not before the customer is whole.
func (*Stage) Due(p *profile.Profile) event.Instant {
	if len(p.Waits) == 0 {
		return 0
	}
	return max(p.Waits[0].Due, p.Whole())
}

// Apply decides what is due, cancels, and starts or judges what the step triggers.
func (st *Stage) Apply(s *pipeline.Step) {
	p, e := s.Profile, s.Event
	forgetSends(p, s.Now)
	switch {
	case e == nil:
		st.leaves.Forget(p)
		st.leaves.Expire(p)
		boundSends(p)
	case e.Type == event.Delivery:
		release(p, e)
	default:
		st.leaves.Record(p, e)
	}
	if s.Loser != nil {
		st.settle(s)
	}
	st.decideDue(s)
	if s.Loser != nil {
		st.boundWaits(s)
	}
	if e != nil {
		st.cancel(s)
		if !e.Historical {
			st.happened(s)
		}
	}
	st.flipped(s)
}

// happened starts the campaigns on the event.
func (st *Stage) happened(s *pipeline.Step) {
	e, name := s.Event, s.Event.CountName()
	for _, c := range st.onEvent[name] {
		if c.where != nil {
			if ok, _ := c.where.Eval(rule.Input{Profile: s.Profile, Now: s.Now, Event: rule.Trigger{Name: name, Properties: e.Properties}}); !ok {
				continue
			}
		}
		key, _ := c.keyOf(e)
		st.start(s, c, profile.Wait{Key: key, Name: name, Properties: bytes.Clone(e.Properties), Occurred: e.Occurred}) // not to hold on to the whole record
	}
}

// flipped starts the campaigns on the memberships that changed in this step.
func (st *Stage) flipped(s *pipeline.Step) {
	for _, change := range s.Changes {
		if !triggers(s, change.Reason) {
			continue
		}
		listeners, name := st.onExit[change.Segment], SegmentExited
		if change.Entered {
			listeners, name = st.onEnter[change.Segment], SegmentEntered
		}
		for _, c := range listeners {
			// An id needs no escaping in JSON.
			w := profile.Wait{Name: name, Properties: event.Object(`{"segment":"` + change.Segment + `"}`), Occurred: s.Now}
			if s.Event != nil && slices.Contains(st.unless[s.Event.CountName()], c) {
				w.Campaign, w.Due = c.ID, s.Now.Add(c.wait())
				stamp(s, &w)
				st.suppress(s, w, ReasonCancelled, "by "+s.Event.CountName())
				continue
			}
			st.start(s, c, w)
		}
	}
}

// triggers tells whether a flip for this reason may start a campaign.
func triggers(s *pipeline.Step, reason string) bool {
	switch reason {
	case pipeline.BecauseEvent, pipeline.BecauseTime, pipeline.BecauseMerge:
		return true
	case pipeline.BecauseDefinitions:
		return s.Fire
	}
	return false
}
