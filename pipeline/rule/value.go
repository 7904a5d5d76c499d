package rule

import (
	"math"
	"slices"
	"strconv"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// said is what the question asks about, as it is now, for people; empty where there is nothing more to say than yes or no.
func (a *atom) said(v *view) string {
	switch a.kind {
	case happened:
		return a.leaf.happened(v)
	case different:
		return atMostSaid(a.leaf.distinct(v), a.leaf.keep)
	case summed, averaged:
		return a.saidSum(v)
	case lastly:
		value, _ := a.leaf.value(v)
		return saidValue(value)
	case unanswered:
		return saidLast(v.p.Windows[a.steps[0].ID], v.now)
	case elapsed, remaining, dated:
		at, ok, _ := a.moment.get(v.p, v.now)
		if !ok {
			return Absent
		}
		return at.String()
	case consented:
		c, known := v.p.Consents[a.name]
		return map[bool]string{true: map[bool]string{true: "granted", false: "withdrawn"}[c.Granted], false: "unknown"}[known]
	case member:
		if m := v.p.Segments[a.name]; m.In {
			return "since " + m.Since.String()
		}
		return "not in it"
	case compared:
		left, _ := a.left.get(v)
		if a.right.kind == fixed {
			return saidNumber(left)
		}
		right, _ := a.right.get(v)
		return saidNumber(left) + " and " + saidNumber(right)
	case traitPasses:
		return saidValue(traitAt(v.p, a.name))
	case triggerHas:
		return saidValue(v.event.Properties.Get(a.name))
	case triggerNamed:
		return strconv.Quote(v.event.Name)
	case shared:
		return "at " + saidNumber(float64(shareOf(a.name, v.p.ID))/100) + " of 100"
	case worded:
		word, _ := a.words.get(v)
		if word == "" {
			return Absent
		}
		return strconv.Quote(word)
	case confident:
		confidence, _ := v.p.StyleConfidence(v.now)
		return saidNumber(confidence)
	case inCart:
		return strconv.FormatInt(v.p.InCart(a.name), 10)
	}
	return ""
}

// Absent is the Value of what is not there.
const Absent = "absent"

// happened says how many there are in the window, or of one that is asked for when it was.
func (l *Leaf) happened(v *view) string {
	for i := range l.filter {
		if op := l.filter[i].test.op; op >= amountIs && op <= isAmount { // an extreme: what it is isn't kept
			return ""
		}
	}
	list := v.p.Windows[l.ID]
	list = list[aheadOf(list, v.now):]
	zone := l.zone(v)
	n := 0
	for n < len(list) && l.window.expiry(list[n], zone) > v.now {
		n++
	}
	switch {
	case l.keep > 1:
		return atMostSaid(n, l.keep)
	case n > 0:
		return "last " + list[0].String()
	case len(list) > 0:
		return "none; last " + list[0].String()
	}
	return "none"
}

// distinct is how many values the window has, of those that are kept.
func (l *Leaf) distinct(v *view) int {
	k := v.p.Kept[l.ID]
	if k == nil {
		return 0
	}
	list := k.Entries[aheadOfEntries(k.Entries, v.now):]
	zone := l.zone(v)
	n := 0
	for i := range list {
		if l.window.expiry(list[i].At, zone) <= v.now {
			break
		}
		if !seen(list[:i], list[i].Number) {
			n++
		}
	}
	return n
}

// zone is the customer's where the window needs it.
func (l *Leaf) zone(v *view) *time.Location {
	if !l.window.zoned() {
		return nil
	}
	return v.zones.of(v.p)
}

// atMostSaid says a number of which no more than so many are kept.
func atMostSaid(n, keep int) string {
	if n >= keep {
		return strconv.Itoa(keep) + " or more"
	}
	return strconv.Itoa(n)
}

func (a *atom) saidSum(v *view) string {
	count, sum := a.measure(v)
	switch {
	case a.kind == averaged && count == 0:
		return Absent
	case a.kind == averaged:
		return saidNumber(math.Round(floatOf(sum)/float64(count)) / float64(event.MoneyUnit))
	}
	return saidNumber(floatOf(sum) / float64(event.MoneyUnit))
}

// measure is the count and the sum of what is in the window now.
func (a *atom) measure(v *view) (count uint64, sum profile.Sum) {
	k := v.p.Kept[a.leaf.ID]
	if k == nil {
		return 0, sum
	}
	if a.leaf.kind == total {
		count, sum = k.Count, k.Sum
	}
	list := k.Entries[aheadOfEntries(k.Entries, v.now):]
	zone := a.leaf.zone(v)
	for _, e := range list[:min(len(list), MaxKept)] {
		if a.leaf.kind == total || a.leaf.window.expiry(e.At, zone) > v.now {
			count, sum = count+1, plus(sum, e.Number)
		}
	}
	return count, sum
}

func floatOf(s profile.Sum) float64 { return float64(s.High)*(1<<64) + float64(s.Low) }

func saidLast(list []event.Instant, now event.Instant) string {
	if list = list[aheadOf(list, now):]; len(list) > 0 {
		return "last " + list[0].String()
	}
	return "none"
}

// maxSaid bounds a value that is said, in bytes.
const maxSaid = 80

func saidValue(v event.Value) string {
	raw := slices.Clone(v.Raw())
	switch {
	case len(raw) == 0:
		return Absent
	case len(raw) > maxSaid:
		return string(raw[:maxSaid]) + "…"
	}
	return string(raw)
}

func saidNumber(n float64) string {
	if math.IsNaN(n) {
		return Absent
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}
