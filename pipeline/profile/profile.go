// Package profile is what Attune knows of one customer: a value that the stages of the customer chain change
// one after another, each its own part, and that one commit stores. It holds no personal field.
//
// Everything in it is either exact and independent of the order of arrival (counts, sums, days, cart, windows),
// decayed and then independent of it to nine digits (leanings), or stamped with the instant at which it was computed
// (scores, standing, memberships). Maps and slices are bounded by what the workspace's definitions ask for, by MaxNames
// and by the Max of each part.
//
// # What rules may ask
//
// Affinity, Favourite, StyleGroup, SendHour, CartLines, Count, Activity and Monetary change with events only.
// Lifecycle, Tier, Recency, StyleConfidence and StyleConfident change by themselves too: each answers with the instant
// at which it does so next. So does Propensity.
package profile

import (
	"cmp"
	"slices"
	"strings"

	"attune/pipeline/event"
)

// Bounds of a profile.
const (
	// MaxNames bounds how many different event names, traits and consents one profile keeps: the first in byte order,
	// beside the events whose count some rule asks for.
	MaxNames = 200
	// MaxDays bounds the purchase days that are kept, and those of refunds: the latest, ten years of buying every day.
	MaxDays = 3660
	// MaxCurrencies bounds the currencies that are kept apart: the first in byte order.
	MaxCurrencies = 32
	// MaxCurrency bounds a currency's code, in bytes; what is longer is none, and counts as if none had been named.
	MaxCurrency = 64
)

// Profile is one customer's state after the record at log sequence Applied.
type Profile struct {
	ID string
	// Now is the customer's clock: the latest `accepted` seen, or the due instant that is being run.
	Now event.Instant
	// Applied is the last log sequence that changed this profile.
	Applied uint64
	// First and Last are the earliest and latest `occurred`.
	First event.Instant
	Last  event.Instant

	Traits   map[string]Trait
	Consents map[string]Consent

	// Activities is how often each event happened, by name.
	Activities []Activity
	Orders     Orders
	Scores     Scores
	// Propensities are replaced as a whole, never changed in place: facts hold on to them.
	Propensities Propensities

	// Leanings are what the customer prefers, by [Dimension].
	Leanings [dimensions]Leaning
	// Viewed are the products last looked at, the latest first.
	Viewed []View
	// Bought are the products last bought, the latest first.
	Bought []View
	// Cart is what was put into the cart and taken out since the latest order, in the order of time; see CartLines.
	Cart []CartChange
	// Zone is the IANA name of the customer's time zone, as last said; empty: unknown.
	Zone     Zone
	Standing Standing

	// Windows holds, per leaf of a rule, the newest times at which it was true, newest first, as many as the
	// rule's threshold needs.
	Windows map[uint64][]event.Instant
	// Kept holds, per leaf of a rule, what it needs beside times.
	Kept map[uint64]*Kept
	// Segments holds the membership in each segment that is, was or will by itself become true.
	Segments map[string]Membership
	// SegmentsDue is no later than the earliest Until of Segments; zero: none has one.
	SegmentsDue event.Instant
	// Members is what the keeper of Segments makes of them for itself. It is never stored.
	Members *Members
	// Definitions is the version of the definitions by which Segments was last computed.
	Definitions uint64
	// Next is what staged definitions make of the customer; nil: nothing yet, or none are staged.
	Next *Next

	// Waits are the campaigns that have been triggered and not yet decided, by due instant.
	Waits []Wait
	// Sends are the recent sends that count against caps, oldest first.
	Sends []Send

	// Armed is the wake-up that the broker holds for this profile; zero: none.
	Armed event.Instant

	// Into is the profile in which this one goes on; empty: it lives. Who went on in another one keeps nothing but ID, Now,
	// Applied, this and Left: the log position from which on what comes for it is the other one's.
	Into string
	Left uint64
	// Awaits are the profiles that are about to go on in this one, in the order of Loser once it took one in.
	Awaits []Await
	// Merged are the profiles that went on in this one, with those that went on in them, by time.
	Merged []Merged
}

// Trait is one fact about the customer that is not personal, as JSON text, and when it was said.
type Trait struct {
	Value event.Object // any JSON value's text
	At    event.Instant
}

// Consent is what the customer last said about one channel. Who never said anything has no entry: unknown.
type Consent struct {
	Granted bool
	At      event.Instant // occurred
}

// Zone is a time zone and when it was said (occurred).
type Zone struct {
	Name string
	At   event.Instant
}

// Orders is what purchases say: recency, frequency and monetary value, and the state from which a lifetime
// value is computed. All of it is exact and the same for any order of arrival.
type Orders struct {
	Count    uint64
	Refunds  uint64
	Revenue  event.Money // of completed orders, before refunds
	Refunded event.Money
	First    event.Instant
	Last     event.Instant
	// Days are the purchase days (UTC), ascending, with what was spent on each.
	Days []Day
	// RefundDays are the days (UTC) on which something was refunded, ascending, with how much.
	RefundDays []Day
	// Currencies are the same sums by currency, by its code.
	Currencies []Currency
}

// Currency is what orders and refunds in one currency sum up to.
type Currency struct {
	Code     string // as the orders wrote it, ISO 4217; empty: they named none
	Orders   uint64
	Refunds  uint64
	Revenue  event.Money // before refunds
	Refunded event.Money
}

// Day is one day with purchases or refunds.
type Day struct {
	Day   int32 // days since 1970
	Spent event.Money
}

// Scores are steps: computed at Scored, valid until Next.
type Scores struct {
	CLV event.Money // expected net value over the horizon
	// Confidence is how far CLV is known, 0 to 1, four decimals: see clv.Model.Confidence.
	Confidence float64
	Alive      float64 // probability of being still a customer, 0 to 1, four decimals
	Scored     event.Instant
	Next       event.Instant // due for the daily recomputation; zero: never
}

// Members tells who is in which of a set of segments, by the set's own numbers.
type Members struct {
	Set   any      // whose numbers they are
	Count int      // how many Segments there were
	In    []uint64 // a bit for each segment
	Held  []uint8  // for each segment, what its keeper notes of the last answer
}

// Membership is where a profile stands with one segment.
type Membership struct {
	In    bool
	Since event.Instant
	// Until is when the answer may change by itself, without an event; zero: never.
	Until event.Instant
}

// Wait is a triggered campaign whose decision is still to come.
type Wait struct {
	Campaign string
	Key      string
	Due      event.Instant
	Cause    string // id of the event that triggered it
	Position uint64 // and its place in the log
	// Properties of the triggering event, for audience rules and the mail's content.
	Properties event.Object
	Name       string // the triggering event's name
	Occurred   event.Instant
	Trace      string // and its trace
	// Held tells that it began while Awaits kept decisions back.
	Held bool
	// Since is when it began, by the customer's clock: it replaces waits of its campaign and key that are not due by then.
	// Zero: it replaces any, as what a flip of a segment began does, and what was stored without it.
	Since event.Instant
}

// Replaces tells whether the wait, which began later, takes the other one's place.
func (t *Wait) Replaces(earlier *Wait) bool {
	return t.Campaign == earlier.Campaign && t.Key == earlier.Key && t.Since < earlier.Due
}

// ByDue is the order in which a profile's waits are kept, and decided.
func ByDue(a, b Wait) int {
	return cmp.Or(cmp.Compare(a.Due, b.Due), strings.Compare(a.Campaign, b.Campaign), strings.Compare(a.Key, b.Key),
		cmp.Compare(a.Position, b.Position), strings.Compare(a.Cause, b.Cause))
}

// Send is one mail that counts against caps, from its decision until it is too old to count or its delivery
// is known to have failed.
type Send struct {
	Decision string
	Campaign string
	At       event.Instant
}

// New is a customer of whom nothing is known yet.
func New(id string) *Profile { return &Profile{ID: id} }

// In tells whether the profile is in the segment.
func (p *Profile) In(segment string) bool { return p.Segments[segment].In }

// Memberships are the segments that the profile is in, sorted; never nil.
func (p *Profile) Memberships() []string {
	in := make([]string, 0, len(p.Segments))
	for id, m := range p.Segments {
		if m.In {
			in = append(in, id)
		}
	}
	slices.Sort(in)
	return in
}
