package rule

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// recordEntry keeps an event's entry, newest first.
func (l *Leaf) recordEntry(p *profile.Profile, e profile.Entry) {
	k := p.Kept[l.ID]
	if k == nil {
		k = new(profile.Kept)
		if p.Kept == nil {
			p.Kept = map[uint64]*profile.Kept{}
		}
		p.Kept[l.ID] = k
	}
	i, _ := slices.BinarySearchFunc(k.Entries, e, newestFirst)
	k.Entries = slices.Insert(k.Entries, i, e)
	l.settle(k, p.Now)
}

// newestFirst puts entries in an order that does not depend on their arrival: of two at one instant the larger text
// counts as the later.
func newestFirst(a, b profile.Entry) int {
	return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Number, a.Number), bytes.Compare(b.Value, a.Value))
}

// settle drops what can no longer matter at now or later, and tells whether anything is left.
func (l *Leaf) settle(k *profile.Kept, now event.Instant) bool {
	if l.kind == earliest {
		k.Entries = k.Entries[max(0, len(k.Entries)-1):]
		return true
	}
	ahead := aheadOfEntries(k.Entries, now)
	if extra := ahead - MaxAhead; extra > 0 {
		k.Entries, ahead = slices.Delete(k.Entries, 0, extra), MaxAhead
	}
	settled := k.Entries[ahead:]
	switch l.kind {
	case total:
		for _, e := range settled {
			k.Count++
			k.Sum = plus(k.Sum, e.Number)
		}
		settled = nil
	case values:
		settled = distinct(settled)
	}
	settled = settled[:min(len(settled), l.keep)]
	for len(settled) > 0 && l.window.gone(settled[len(settled)-1].At, now) {
		settled = settled[:len(settled)-1]
	}
	clear(k.Entries[ahead+len(settled):]) // not to hold on to values
	k.Entries = k.Entries[:ahead+len(settled)]
	return len(k.Entries) > 0 || k.Count > 0
}

// distinct keeps of each number the newest entry, in place.
func distinct(list []profile.Entry) []profile.Entry {
	n := 0
	for i := range list {
		if !slices.ContainsFunc(list[:n], func(e profile.Entry) bool { return e.Number == list[i].Number }) {
			list[n] = list[i]
			n++
		}
	}
	return list[:n]
}

func aheadOfEntries(list []profile.Entry, now event.Instant) int {
	n := 0
	for n < len(list) && list[n].At > now {
		n++
	}
	return n
}

// coming is when the next of the entries ahead occurs; zero: there is none.
func coming(list []profile.Entry, ahead int) event.Instant {
	if ahead == 0 {
		return 0
	}
	return list[ahead-1].At
}

// plus adds to a sum, exactly.
func plus(s profile.Sum, n int64) profile.Sum {
	low, carry := bits.Add64(s.Low, uint64(n), 0)
	return profile.Sum{Low: low, High: s.High + n>>63 + int64(carry)}
}

// product is a times n, exactly.
func product(a int64, n uint64) profile.Sum {
	high, low := bits.Mul64(uint64(a), n)
	if a < 0 {
		high -= n
	}
	return profile.Sum{High: int64(high), Low: low}
}

// compareSums is below zero, zero or above, as a is less than, equal to or more than b.
func compareSums(a, b profile.Sum) int {
	return cmp.Or(cmp.Compare(a.High, b.High), cmp.Compare(a.Low, b.Low))
}

// minus takes away from a sum, exactly.
func minus(s profile.Sum, n int64) profile.Sum {
	low, borrow := bits.Sub64(s.Low, uint64(n), 0)
	return profile.Sum{Low: low, High: s.High - n>>63 - int64(borrow)}
}
