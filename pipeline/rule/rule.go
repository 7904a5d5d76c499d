package rule

import (
	"slices"
	"strings"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Rule is one compiled question about a customer. It never changes and is safe for concurrent use.
type Rule struct {
	text   string
	root   *node
	leaves []*Leaf
	reads  Reads
	// mentions are what the text names, for who checks it.
	mentions []*Mention
	kind     uint64 // the lowest bit of its leaves' IDs
	zones    *zones
}

// Input is what a rule looks at.
type Input struct {
	// Profile must not be nil.
	Profile *profile.Profile
	// Now must not be earlier than Profile.Now: what no longer matters at the profile's clock is not kept.
	Now event.Instant
	// Event is the triggering event, for rules compiled [WithEvent]; else its zero value.
	Event Trigger
}

// Trigger is what a rule may ask about the event that triggered a campaign.
type Trigger struct {
	Name       string
	Properties event.Object
}

// Eval answers at in.Now. The answer holds in [in.Now, until) as long as the profile isn't changed; until is
// never later than the next change by itself, and is later than in.Now; zero: it never changes by itself.
// It allocates nothing.
func (r *Rule) Eval(in Input) (ok bool, until event.Instant) {
	v := view{p: in.Profile, now: in.Now, event: in.Event, zones: r.zones}
	return r.root.eval(&v)
}

// Leaves are the questions of the rule about what happened, whose answers must be kept, by a [LeafSet], sorted by ID.
func (r *Rule) Leaves() []*Leaf { return slices.Clone(r.leaves) }

// Reads tells what the answer depends on, so that only what may have changed is asked again.
func (r *Rule) Reads() Reads { return r.reads }

// Requires are the segments of which the customer has to be a member for the rule to be true, or may have to; sorted.
// One that is only asked for below a not, which leaves its members out, is not among them.
func (r *Rule) Requires() []string {
	var ids []string
	r.root.atoms(false, func(n *node, negated bool) {
		if n.atom.kind == member && !negated {
			ids = append(ids, n.atom.name)
		}
	})
	slices.Sort(ids)
	return slices.Compact(ids)
}

// MaxBytes is what the rule's leaves take at most in a stored profile; rules that ask the same share it.
func (r *Rule) MaxBytes() int {
	n := 0
	for _, l := range r.leaves {
		n += l.MaxBytes()
	}
	return n
}

// Text is the rule as it was written.
func (r *Rule) Text() string { return r.text }

// String is the compiled tree in a canonical form: rules that mean the same by construction print the same.
func (r *Rule) String() string {
	var b strings.Builder
	r.root.write(&b)
	return b.String()
}

// Reads is what a rule's answer depends on, besides time.
type Reads struct {
	// Fields are all of it, sorted: "event:Product Viewed", "trait:plan", "consent:email", "segment:loyal",
	// "customer.clv", "propensity:purchase", "property:price" of the triggering event.
	Fields   []string
	Events   []string // names of events that are looked back at; sorted
	Totals   []string // those whose all-time count is asked for by ever or total; sorted
	Segments []string // ids; sorted
	Event    bool     // the triggering event
}

// Propensity tells whether the rule asks for any.
func (r Reads) Propensity() bool {
	return slices.ContainsFunc(r.Fields, func(f string) bool { return strings.HasPrefix(f, "propensity:") })
}

// EventOnly tells whether the rule asks about nothing but the triggering event.
func (r Reads) EventOnly() bool {
	return !slices.ContainsFunc(r.Fields, func(f string) bool { return !strings.HasPrefix(f, "property:") && f != "event.name" })
}
