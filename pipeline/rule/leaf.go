package rule

import (
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// What one leaf keeps in a profile, at most.
const (
	// MaxAhead bounds how many events ahead of the customer's clock are kept, the nearest first, so that a producer
	// with a broken clock can't grow a profile without end.
	MaxAhead = 16
	// MaxKept is how many single events are kept where each of them matters: sum and avg in a window that has an
	// end, sequence, followed, not_followed. They look at the newest so many that match.
	MaxKept = 1000
	// MaxDistinct is below which number distinct(…) may be compared: so many values are kept.
	MaxDistinct = 100
	// MaxValue bounds a value that first and last keep, in bytes of JSON; a longer one counts as null.
	MaxValue = 256
)

// Leaf is one question about what happened: which events, with which properties, in which window, and what of
// them. What answers it lies in the profile, under the leaf's ID. It never changes.
type Leaf struct {
	// ID is the FNV-1a 64 hash of the canonical definition, so equal leaves share what they keep. Its lowest bit
	// keeps segments (0) and campaigns (1: compiled WithEvent or WithSegments) apart: each kind has a stage of its
	// own that records, so none is recorded twice.
	ID    uint64
	Event string

	kind     leafKind
	property string // whose value is kept
	window   window
	filter   []condition // sorted by path
	keep     int         // the highest number of events that is asked for
}

// leafKind is what is kept of the events.
type leafKind uint8

const (
	times    leafKind = iota // when the newest occurred
	amounts                  // the newest with their amounts, for sums in a window
	total                    // count and sum of all amounts
	values                   // when each of the values that were seen last was seen last
	newest                   // the newest with its value
	earliest                 // the earliest with its value
)

func (k leafKind) String() string {
	return [...]string{"times", "amounts", "total", "values", "last", "first"}[k]
}

// condition is one entry of a filter: the property at the path passes the test, or doesn't.
type condition struct {
	path    string
	test    test
	negated bool
}

func (c *condition) passes(o event.Object) bool { return c.test.holds(o.Get(c.path)) != c.negated }

func (c *condition) String() string {
	var b strings.Builder
	if c.negated {
		b.WriteString("!")
	}
	if c.test.op == is && len(c.test.want) == 1 && !c.negated {
		b.WriteString(strconv.Quote(c.path) + ":" + c.test.want[0].String())
		return b.String()
	}
	c.test.write(&b, strconv.Quote(c.path))
	return b.String()
}

func newLeaf(kind leafKind, name, property string, filter []condition, w window, campaign uint64) *Leaf {
	slices.SortFunc(filter, func(a, b condition) int { return strings.Compare(a.String(), b.String()) })
	l := &Leaf{Event: name, kind: kind, property: property, window: w, filter: filter}
	h := fnv.New64a()
	h.Write([]byte(l.Definition()))
	l.ID = h.Sum64()&^1 | campaign
	return l
}

// Definition is the canonical text that the ID is computed from. Profiles depend on it: it must not change.
func (l *Leaf) Definition() string {
	var b strings.Builder
	if l.kind != times {
		b.WriteString(l.kind.String() + " " + strconv.Quote(l.property) + " ")
	}
	b.WriteString(strconv.Quote(l.Event))
	b.WriteString(" ")
	writeFilter(&b, l.filter)
	b.WriteString(" ")
	b.WriteString(l.window.key())
	return b.String()
}

func writeFilter(b *strings.Builder, filter []condition) {
	b.WriteString("{")
	for i := range filter {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(filter[i].String())
	}
	b.WriteString("}")
}

// Keep is how many events at or before the customer's clock are kept.
func (l *Leaf) Keep() int { return l.keep }

// MaxBytes is what the leaf takes at most in a stored profile.
func (l *Leaf) MaxBytes() int {
	const id, at, header = 11, 10, 4
	n := l.keep + MaxAhead
	switch l.kind {
	case times:
		return id + at*n
	case newest:
		return id + 24 + n*(at+header+MaxValue)
	case earliest:
		return id + 24 + at + header + MaxValue
	default:
		return id + 24 + n*(at+header+at)
	}
}

// Matches tells whether the event counts for this leaf.
func (l *Leaf) Matches(e *event.Event) bool {
	return e.CountName() == l.Event && l.passes(e)
}

// passes tells whether the properties are those of the filter.
func (l *Leaf) passes(e *event.Event) bool {
	for i := range l.filter {
		if !l.filter[i].passes(e.Properties) {
			return false
		}
	}
	return true
}

// Record keeps what is needed of an event that matches, and drops what can no longer matter at p.Now or later.
// What a profile holds is the same for any order of arrival within one p.Now.
func (l *Leaf) Record(p *profile.Profile, e *event.Event) {
	at := e.Occurred
	if !l.window.admits(at) || l.window.gone(at, p.Now) {
		return
	}
	if l.kind == times {
		l.recordTime(p, at)
		return
	}
	entry := profile.Entry{At: at}
	v := e.Properties.Get(l.property)
	switch l.kind {
	case amounts, total:
		amount, ok := v.Money()
		if !ok {
			return
		}
		entry.Number = int64(amount)
	case values:
		if v.Null() {
			return
		}
		entry.Number = hashOf(v)
	case newest, earliest:
		if l.property != "" {
			if v.Null() {
				return
			}
			if value := spelled(v); len(value) <= MaxValue {
				entry.Value = slices.Clone(event.Object(value))
			} else {
				entry.Value = event.Object("null")
			}
		}
	}
	l.recordEntry(p, entry)
}

func (l *Leaf) recordTime(p *profile.Profile, at event.Instant) {
	list := p.Windows[l.ID]
	i := 0
	for i < len(list) && list[i] > at {
		i++
	}
	list = l.trim(slices.Insert(list, i, at), p.Now)
	if p.Windows == nil {
		p.Windows = map[uint64][]event.Instant{}
	}
	p.Windows[l.ID] = list
}

// trim keeps the newest times up to now that a threshold can ask for and that are in the window, and the
// nearest ones after now.
func (l *Leaf) trim(list []event.Instant, now event.Instant) []event.Instant {
	ahead := aheadOf(list, now)
	if extra := ahead - MaxAhead; extra > 0 {
		list, ahead = slices.Delete(list, 0, extra), MaxAhead
	}
	end := min(len(list), ahead+l.keep)
	for end > ahead && l.window.gone(list[end-1], now) {
		end--
	}
	return list[:end]
}

// aheadOf is how many of the times, newest first, lie after now.
func aheadOf(list []event.Instant, now event.Instant) int {
	n := 0
	for n < len(list) && list[n] > now {
		n++
	}
	return n
}

// atLeast tells whether the window that ends at now holds n times or more, and exactly when that will change
// by itself; zero: never. list is newest first, and what lies after now are events that are still to come.
func atLeast(list []event.Instant, n int, w *window, zone *time.Location, now event.Instant) (ok bool, until event.Instant) {
	ahead := aheadOf(list, now)
	// The n-th newest up to an instant decides; as the instant moves past a coming event, it moves up by one.
	if i := ahead + n - 1; i < len(list) {
		if until = w.expiry(list[i], zone); until > now {
			for ahead > 0 && list[ahead-1] <= until {
				ahead--
				until = w.expiry(list[ahead+n-1], zone)
			}
			return true, ending(until)
		}
	}
	for ahead > 0 {
		ahead--
		if i := ahead + n - 1; i < len(list) && w.expiry(list[i], zone) > list[ahead] {
			return false, list[ahead]
		}
	}
	return false, 0
}

// ending is an instant as answers have it: zero for never.
func ending(at event.Instant) event.Instant {
	if at == never {
		return 0
	}
	return at
}

// sooner is the earlier of two ends; zero is never.
func sooner(a, b event.Instant) event.Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// exactUpTo is the first whole number that another one may share its double with.
const exactUpTo = 1 << 53

// hashOf tells values apart: FNV-1a 64 over a string's text, a number's value or any other JSON text in one form; of a number
// too large to be told from its neighbours by its value, such as an id, over how it is written. Two of a hundred values have
// the same with a chance of about 3 in 10^16.
func hashOf(v event.Value) int64 {
	var h uint64 = 14695981039346656037
	add := func(c byte) { h = (h ^ uint64(c)) * 1099511628211 }
	if text, ok := textOf(v); ok {
		add('s')
		for _, c := range text {
			add(c)
		}
	} else if n, ok := v.Number(); ok && math.Abs(n) < exactUpTo {
		add('n')
		for bits := math.Float64bits(n + 0); bits != 0; bits >>= 8 {
			add(byte(bits))
		}
	} else {
		for _, c := range spelled(v) {
			add(c)
		}
	}
	return int64(h)
}
