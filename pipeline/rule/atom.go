package rule

import (
	"strconv"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// atom is one question without && and ||. It never changes; which of its fields mean something its kind says.
type atom struct {
	kind atomKind
	// name is the channel of a consent, the segment, the path of a trait or property, the salt of a share.
	name     string
	trait    int // in a Set, the number of the trait with this name, from 1; 0: not numbered
	test     test
	relation relation

	leaf  *Leaf
	steps []*Leaf // of sequence, followed, not_followed
	n     int     // at least so many

	left, right number
	words       words
	moment      moment
	span        event.Instant // since, until: milliseconds; sequences: within; shares: ten-thousandths
	outer       event.Instant // sequences: the window, milliseconds
	amount      event.Money   // sum, avg: what they are compared with
}

type atomKind uint8

const (
	happened     atomKind = iota // the leaf's window holds n events or more
	summed                       // the sum of the leaf's amounts, compared
	averaged                     // their mean, compared
	different                    // the leaf's window holds n values or more
	lastly                       // the value that the leaf keeps passes the test
	chained                      // the steps, each within the span after the one before
	unanswered                   // the last first step has no second within the span after it
	elapsed                      // the time since a moment, compared
	remaining                    // the time until a moment, compared
	dated                        // a moment, compared with a date
	consented                    // the channel is granted
	member                       // in the segment
	compared                     // two numbers of which at least one is the customer's
	traitPasses                  // a trait passes the test
	triggerHas                   // a property of the triggering event passes the test
	triggerNamed                 // its name does
	shared                       // the customer is in the stable random share
	worded                       // a word about the customer passes the test
	confident                    // the style group is founded at least so well: right
	inCart                       // the product is in the cart
)

func (a *atom) eval(v *view) (ok bool, until event.Instant) {
	switch a.kind {
	case happened:
		var zone *time.Location
		if a.leaf.window.zoned() {
			zone = v.zones.of(v.p)
		}
		return atLeast(v.p.Windows[a.leaf.ID], a.n, &a.leaf.window, zone, v.now)
	case traitPasses:
		if a.trait > 0 && v.memo != nil {
			return a.test.holdsFor(v.memo.trait(int32(a.trait-1), v.p)), 0
		}
		return a.test.holds(traitAt(v.p, a.name)), 0
	case compared:
		return a.evalNumbers(v)
	case consented:
		return v.p.Consents[a.name].Granted, 0
	case member:
		m := v.p.Segments[a.name]
		return m.In, later(m.Until, v.now)
	case triggerHas:
		return a.test.holds(v.event.Properties.Get(a.name)), 0
	case triggerNamed:
		return a.test.holdsWord(v.event.Name), 0
	case shared:
		return shareOf(a.name, v.p.ID) < int64(a.span), 0
	case elapsed, remaining, dated:
		return a.evalMoment(v)
	case worded:
		return a.evalWord(v)
	case confident:
		return v.p.StyleConfident(a.right.fixed, v.now)
	case inCart:
		return v.p.InCart(a.name) > 0, 0
	case summed, averaged:
		return a.evalSum(v)
	case different:
		return a.evalDistinct(v)
	case lastly:
		return a.evalValue(v)
	default:
		return a.evalSteps(v)
	}
}

// later is an instant that is still to come. What is due but has not been done changes by being done: by a
// step, not by itself.
func later(at, now event.Instant) event.Instant {
	if at > now {
		return at
	}
	return 0
}

// traitAt finds a trait by its name, or by a dotted path into one that is an object.
func traitAt(p *profile.Profile, path string) event.Value {
	if t, ok := p.Traits[path]; ok {
		return event.ValueOf(t.Value)
	}
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		return event.Value{}
	}
	inner, ok := event.ValueOf(p.Traits[name].Value).Object()
	if !ok {
		return event.Value{}
	}
	return inner.Get(rest)
}

// evalSum adds up the newest amounts in the window; what leaves it changes the answer at its own instant.
func (a *atom) evalSum(v *view) (bool, event.Instant) {
	k := v.p.Kept[a.leaf.ID]
	if k == nil {
		return a.measures(0, profile.Sum{}), 0
	}
	ahead := aheadOfEntries(k.Entries, v.now)
	next := coming(k.Entries, ahead)
	list := k.Entries[ahead:]
	if a.leaf.kind == total {
		count, sum := k.Count, k.Sum
		for _, e := range list {
			count, sum = count+1, plus(sum, e.Number)
		}
		return a.measures(count, sum), next
	}
	list = list[:min(len(list), MaxKept)]
	var zone *time.Location
	if a.leaf.window.zoned() {
		zone = v.zones.of(v.p)
	}
	var sum profile.Sum
	count := 0
	for count < len(list) && a.leaf.window.expiry(list[count].At, zone) > v.now {
		sum = plus(sum, list[count].Number)
		count++
	}
	ok := a.measures(uint64(count), sum)
	for count > 0 {
		leaves := a.leaf.window.expiry(list[count-1].At, zone)
		if leaves == never || next != 0 && leaves >= next {
			break
		}
		for count > 0 && a.leaf.window.expiry(list[count-1].At, zone) == leaves {
			count--
			sum = minus(sum, list[count].Number)
		}
		if a.measures(uint64(count), sum) != ok {
			return ok, leaves
		}
	}
	return ok, next
}

// measures compares a sum, or a mean, with the constant. The mean of nothing is absent.
func (a *atom) measures(count uint64, sum profile.Sum) bool {
	if a.kind == averaged {
		if count == 0 {
			return a.relation == unequal
		}
		return a.relation.holdsFor(compareSums(sum, product(int64(a.amount), count)))
	}
	return a.relation.holdsFor(compareSums(sum, product(int64(a.amount), 1)))
}

// evalDistinct counts the values that were last seen in the window.
func (a *atom) evalDistinct(v *view) (bool, event.Instant) {
	k := v.p.Kept[a.leaf.ID]
	if k == nil {
		return false, 0
	}
	var zone *time.Location
	if a.leaf.window.zoned() {
		zone = v.zones.of(v.p)
	}
	ahead := aheadOfEntries(k.Entries, v.now)
	next := coming(k.Entries, ahead)
	list := k.Entries[ahead:]
	found := 0
	for i := range list {
		leaves := a.leaf.window.expiry(list[i].At, zone)
		if leaves <= v.now {
			break
		}
		if seen(list[:i], list[i].Number) {
			continue
		}
		if found++; found == a.n {
			return true, sooner(ending(leaves), next)
		}
	}
	return false, next
}

func seen(list []profile.Entry, number int64) bool {
	for i := range list {
		if list[i].Number == number {
			return true
		}
	}
	return false
}

// evalValue tests the value of the newest or the earliest event.
func (a *atom) evalValue(v *view) (bool, event.Instant) {
	value, until := a.leaf.value(v)
	return a.test.holds(value), until
}

// value is what the leaf's newest or earliest event carried, and until when that is so.
func (l *Leaf) value(v *view) (event.Value, event.Instant) {
	k := v.p.Kept[l.ID]
	if k == nil || len(k.Entries) == 0 {
		return event.Value{}, 0
	}
	ahead := aheadOfEntries(k.Entries, v.now)
	next := coming(k.Entries, ahead)
	if ahead == len(k.Entries) {
		return event.Value{}, next
	}
	e := &k.Entries[ahead]
	if l.kind == earliest {
		return event.ValueOf(e.Value), 0
	}
	var zone *time.Location
	if l.window.zoned() {
		zone = v.zones.of(v.p)
	}
	leaves := l.window.expiry(e.At, zone)
	if leaves <= v.now {
		return event.Value{}, next
	}
	return event.ValueOf(e.Value), sooner(ending(leaves), next)
}

func (a *atom) write(b *strings.Builder) {
	switch a.kind {
	case happened:
		b.WriteString("at_least(" + strconv.Itoa(a.n) + ", ")
		a.leaf.write(b)
		b.WriteString(")")
	case different:
		b.WriteString("at_least_distinct(" + strconv.Itoa(a.n) + ", ")
		a.leaf.write(b)
		b.WriteString(")")
	case summed, averaged:
		b.WriteString("compare(" + map[atomKind]string{summed: "sum", averaged: "avg"}[a.kind] + "(")
		a.leaf.write(b)
		b.WriteString(") " + a.relation.String() + " " + a.amount.String() + ")")
	case lastly:
		var what strings.Builder
		what.WriteString(a.leaf.kind.String() + "(")
		a.leaf.write(&what)
		what.WriteString(")")
		a.test.write(b, what.String())
	case chained, unanswered:
		b.WriteString(map[atomKind]string{chained: "sequence(", unanswered: "not_followed("}[a.kind])
		for _, l := range a.steps {
			l.write(b)
			b.WriteString(", ")
		}
		b.WriteString(formatWindow(time.Duration(a.span)*time.Millisecond) + ", " + formatWindow(time.Duration(a.outer)*time.Millisecond) + ")")
	case elapsed, remaining:
		b.WriteString("compare(" + map[atomKind]string{elapsed: "since(", remaining: "until("}[a.kind] + a.moment.String() + ") " +
			a.relation.String() + " " + formatWindow(time.Duration(a.span)*time.Millisecond) + ")")
	case dated:
		b.WriteString("compare(" + a.moment.String() + " " + a.relation.String() + " " + a.span.String() + ")")
	case consented:
		b.WriteString("consent(" + strconv.Quote(a.name) + ")")
	case member:
		b.WriteString("in_segment(" + strconv.Quote(a.name) + ")")
	case compared:
		b.WriteString("compare(" + a.left.String() + " " + a.relation.String() + " " + a.right.String() + ")")
	case traitPasses:
		a.test.write(b, "trait("+strconv.Quote(a.name)+")")
	case triggerHas:
		a.test.write(b, "property("+strconv.Quote(a.name)+")")
	case triggerNamed:
		a.test.write(b, "event.name")
	case worded:
		a.test.write(b, a.words.String())
	case confident:
		b.WriteString("compare(customer.style_confidence >= " + a.right.String() + ")")
	case inCart:
		b.WriteString("in_cart(" + strconv.Quote(a.name) + ")")
	case shared:
		b.WriteString("in_percent(" + strconv.Quote(a.name) + ", " + strconv.FormatFloat(float64(a.span)/100, 'g', -1, 64) + ")")
	}
}

func (l *Leaf) write(b *strings.Builder) {
	b.WriteString(strconv.Quote(l.Event))
	if l.property != "" {
		b.WriteString(", " + strconv.Quote(l.property))
	}
	if len(l.filter) > 0 {
		b.WriteString(", ")
		writeFilter(b, l.filter)
	}
	if w := l.window.String(); w != "" {
		b.WriteString(", " + w)
	}
}
