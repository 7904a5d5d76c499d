package profile

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"attune/pipeline/event"
)

const (
	// MaxMerged bounds how many of the profiles that one has taken in are remembered: the latest.
	MaxMerged = 256
	// MaxAwait is how long decisions wait at most for what a merged profile was.
	MaxAwait = 5 * time.Minute
)

// Await is a profile that is known to be this customer's and has not handed over yet.
type Await struct {
	Loser string
	Until event.Instant // when it is waited for no longer
}

// Merged is a profile that goes on in this one.
type Merged struct {
	ID string
	At event.Instant // this customer's clock when it was taken in
}

// TookIn tells whether the profile goes on in this one, as far back as it is remembered.
func (p *Profile) TookIn(loser string) bool {
	return slices.ContainsFunc(p.Merged, func(m Merged) bool { return m.ID == loser })
}

// Announce begins to wait for a profile, from the given instant on, and tells whether that is news.
func (p *Profile) Announce(loser string, now event.Instant) bool {
	p.forgetAwaits()
	if loser == p.ID || p.TookIn(loser) || slices.ContainsFunc(p.Awaits, func(a Await) bool { return a.Loser == loser }) {
		return false
	}
	p.Awaits = append(p.Awaits, Await{Loser: loser, Until: now.Add(MaxAwait)})
	return true
}

// Whole is the instant from which on nothing is waited for: decisions before it would be made from half a customer.
// Zero: nothing is.
func (p *Profile) Whole() event.Instant {
	var whole event.Instant
	for _, a := range p.Awaits {
		whole = max(whole, a.Until)
	}
	return whole
}

// forgetAwaits drops those that were waited for long enough.
func (p *Profile) forgetAwaits() {
	p.Awaits = slices.DeleteFunc(p.Awaits, func(a Await) bool { return a.Until <= p.Now })
}

// mergeJoined notes that the loser, and all that it had taken in, go on in this profile, which now waits for whom the
// loser waited.
func (p *Profile) mergeJoined(loser *Profile) {
	p.Merged = append(slices.Concat(p.Merged, loser.Merged), Merged{ID: loser.ID, At: p.Now})
	slices.SortFunc(p.Merged, func(a, b Merged) int { return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.ID, b.ID)) })
	p.Merged = slices.Delete(p.Merged, 0, max(0, len(p.Merged)-MaxMerged))
	awaits := slices.Concat(p.Awaits, loser.Awaits)
	slices.SortFunc(awaits, func(a, b Await) int { return cmp.Or(strings.Compare(a.Loser, b.Loser), cmp.Compare(b.Until, a.Until)) })
	awaits = slices.CompactFunc(awaits, func(a, b Await) bool { return a.Loser == b.Loser })
	p.Awaits = slices.DeleteFunc(awaits, func(a Await) bool { return a.Loser == p.ID || p.TookIn(a.Loser) })
	p.forgetAwaits()
}

func appendAwait(b []byte, a *Await) []byte { return appendInt(appendText(b, 1, a.Loser), 2, a.Until) }

func appendMerged(b []byte, m *Merged) []byte { return appendInt(appendText(b, 1, m.ID), 2, m.At) }

func (a *Await) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		a.Loser = w.text()
	case 2:
		a.Until = w.instant()
	}
	return nil
}

func (m *Merged) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		m.ID = w.text()
	case 2:
		m.At = w.instant()
	}
	return nil
}
