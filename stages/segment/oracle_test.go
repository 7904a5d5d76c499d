package segment

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"attune/pipeline/event"
)

// This file answers rules by looking at everything that has ever arrived, at any instant, with no state of its own. It
// shares nothing with package rule but the language.

// question is a rule with an answer of its own.
type question struct {
	text   string
	answer func(w *world, at event.Instant) bool
}

// world is all that has arrived so far.
type world struct {
	events  []event.Event // in the order of arrival
	id      string
	members map[string]question
}

const minute = event.Instant(60_000)

// amount is an event's, in ten-thousandths.
func amountOf(e *event.Event) (event.Money, bool) { return e.Properties.Get("price").Money() }

func text(e *event.Event, name string) string {
	s, _ := e.Properties.Get(name).Text()
	return s
}

// trait is what was said last, by arrival: that is how the test's enrich keeps them.
func (w *world) trait(name string) event.Value {
	var v event.Value
	for i := range w.events {
		if said := w.events[i].Traits.Get(name); said.Present() {
			v = said
		}
	}
	return v
}

func (w *world) location() *time.Location {
	name, ok := w.trait("timezone").Text()
	for i := range w.events { // a context goes before traits
		if said, inContext := w.events[i].Context.Get("timezone").Text(); inContext {
			name, ok = said, true
		}
	}
	if !ok {
		return time.UTC
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	return zone
}

// span is a window as the oracle sees it.
type span struct {
	text string // empty: all time
	in   func(w *world, t, at event.Instant) bool
}

func date(t event.Instant, zone *time.Location) time.Time {
	y, m, d := time.UnixMilli(int64(t)).In(zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

func drawSpan(t *rapid.T, allowed ...string) span {
	switch kind := rapid.SampledFrom(allowed).Draw(t, "window"); kind {
	case "all":
		return span{in: func(*world, event.Instant, event.Instant) bool { return true }}
	case "rolling":
		m := rapid.SampledFrom([]int{30, 60, 90, 180, 720, 1440, 2880}).Draw(t, "minutes")
		return span{fmt.Sprintf("%dm", m), func(_ *world, t, at event.Instant) bool { return at < t+event.Instant(m)*minute }}
	case "days":
		n := rapid.IntRange(1, 3).Draw(t, "days")
		written := fmt.Sprintf("%d calendar days", n)
		if n == 1 {
			written = "today"
		}
		return span{written, func(w *world, t, at event.Instant) bool {
			z := w.location()
			return date(at, z).Sub(date(t, z)) < time.Duration(n)*24*time.Hour
		}}
	case "week":
		return span{"this week", func(w *world, t, at event.Instant) bool {
			z := w.location()
			y1, w1 := date(t, z).ISOWeek()
			y2, w2 := date(at, z).ISOWeek()
			return y1 == y2 && w1 == w2
		}}
	case "month":
		return span{"this month", func(w *world, t, at event.Instant) bool {
			a, b := date(t, w.location()), date(at, w.location())
			return a.Year() == b.Year() && a.Month() == b.Month()
		}}
	default:
		from := lawStart + event.Instant(rapid.IntRange(-40, 40).Draw(t, "from"))*30*minute
		to := from + event.Instant(rapid.IntRange(1, 60).Draw(t, "to"))*30*minute
		return span{from.String() + "/" + to.String(), func(_ *world, t, _ event.Instant) bool { return from <= t && t < to }}
	}
}

// filter is a filter as the oracle sees it.
type filter struct {
	text   string // with a comma before it; empty: none
	passes func(e *event.Event) bool
}

func drawFilter(t *rapid.T) filter {
	color := rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "color")
	price := rapid.IntRange(0, 6).Draw(t, "price")
	number := func(e *event.Event) (float64, bool) { return e.Properties.Get("price").Number() }
	switch rapid.IntRange(0, 8).Draw(t, "filter") {
	case 0:
		return filter{fmt.Sprintf(`, {"color": %q}`, color), func(e *event.Event) bool { return text(e, "color") == color }}
	case 1:
		return filter{fmt.Sprintf(`, {"color": {"!=": %q}}`, color), func(e *event.Event) bool { return text(e, "color") != color }}
	case 2:
		return filter{fmt.Sprintf(`, {"price": {">=": %d, "<": %d}}`, price, price+2), func(e *event.Event) bool {
			n, ok := number(e)
			return ok && n >= float64(price) && n < float64(price+2)
		}}
	case 3:
		return filter{`, {"color": ["red", "green"], "price": {"exists": true}}`, func(e *event.Event) bool {
			return slices.Contains([]string{"red", "green"}, text(e, "color")) && !e.Properties.Get("price").Null()
		}}
	case 4:
		return filter{`, {"color": {"starts_with": "r"}}`, func(e *event.Event) bool { return strings.HasPrefix(text(e, "color"), "r") }}
	}
	return filter{passes: func(*event.Event) bool { return true }}
}

// past are the events of a name that pass and are in the window, in the order of what occurred.
func (w *world) past(name string, f filter, s span, at event.Instant) []event.Event {
	var list []event.Event
	for _, e := range w.events {
		if e.CountName() == name && e.Occurred <= at && f.passes(&e) && s.in(w, e.Occurred, at) {
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b event.Event) int { return int(a.Occurred - b.Occurred) })
	return list
}

func holds(op string, order int) bool {
	return map[string]bool{"==": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[op]
}

func sign[N int | int64 | float64 | event.Money | event.Instant](a, b N) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

var (
	allOps   = []string{"==", "!=", "<", "<=", ">", ">="}
	orderOps = []string{"<", "<=", ">", ">="}
	anySpan  = []string{"rolling", "rolling", "days", "week", "month", "dates", "all"}
)

func args(name, property string, f filter, s span) string {
	a := fmt.Sprintf("%q", name)
	if property != "" {
		a += fmt.Sprintf(", %q", property)
	}
	a += f.text
	if s.text != "" {
		a += fmt.Sprintf(", %q", s.text)
	}
	return a
}

func drawLookBack(t *rapid.T) question {
	name := rapid.SampledFrom([]string{"A", "B"}).Draw(t, "event")
	f := drawFilter(t)
	switch rapid.SampledFrom([]string{"did", "count", "count", "sum", "avg", "extreme", "distinct", "last", "first", "since", "sequence", "missing"}).Draw(t, "function") {
	case "did":
		s := drawSpan(t, anySpan...)
		return question{"did(" + args(name, "", f, s) + ")", func(w *world, at event.Instant) bool { return len(w.past(name, f, s, at)) > 0 }}
	case "count":
		s, op, n := drawSpan(t, anySpan...), rapid.SampledFrom(allOps).Draw(t, "op"), rapid.IntRange(1, 4).Draw(t, "n")
		return question{fmt.Sprintf("count(%s) %s %d", args(name, "", f, s), op, n), func(w *world, at event.Instant) bool {
			return holds(op, sign(len(w.past(name, f, s, at)), n))
		}}
	case "sum", "avg":
		s, op, c := drawSpan(t, anySpan...), rapid.SampledFrom(allOps).Draw(t, "op"), event.Money(rapid.IntRange(-2, 24).Draw(t, "c"))*event.MoneyUnit/2
		mean := rapid.Bool().Draw(t, "mean")
		return question{fmt.Sprintf("%s(%s) %s %s", map[bool]string{true: "avg", false: "sum"}[mean], args(name, "price", f, s), op, c), func(w *world, at event.Instant) bool {
			var sum event.Money
			count := 0
			for _, e := range w.past(name, f, s, at) {
				if m, ok := amountOf(&e); ok {
					sum, count = sum+m, count+1
				}
			}
			if !mean {
				return holds(op, sign(sum, c))
			}
			if count == 0 {
				return op == "!="
			}
			return holds(op, sign(sum, c*event.Money(count)))
		}}
	case "extreme":
		s, op, c := drawSpan(t, anySpan...), rapid.SampledFrom(allOps).Draw(t, "op"), event.Money(rapid.IntRange(0, 7).Draw(t, "c"))*event.MoneyUnit
		highest := rapid.Bool().Draw(t, "max")
		return question{fmt.Sprintf("%s(%s) %s %s", map[bool]string{true: "max", false: "min"}[highest], args(name, "price", f, s), op, c), func(w *world, at event.Instant) bool {
			var list []event.Money
			for _, e := range w.past(name, f, s, at) {
				if m, ok := amountOf(&e); ok {
					list = append(list, m)
				}
			}
			if len(list) == 0 {
				return op == "!="
			}
			if highest {
				return holds(op, sign(slices.Max(list), c))
			}
			return holds(op, sign(slices.Min(list), c))
		}}
	case "distinct":
		s, op, n := drawSpan(t, anySpan...), rapid.SampledFrom(allOps).Draw(t, "op"), rapid.IntRange(1, 3).Draw(t, "n")
		return question{fmt.Sprintf("distinct(%s) %s %d", args(name, "color", f, s), op, n), func(w *world, at event.Instant) bool {
			seen := map[string]bool{}
			for _, e := range w.past(name, f, s, at) {
				if v := e.Properties.Get("color"); !v.Null() {
					seen[string(v.Raw())] = true
				}
			}
			return holds(op, sign(len(seen), n))
		}}
	case "last", "first":
		last := rapid.Bool().Draw(t, "last")
		s := drawSpan(t, map[bool][]string{true: anySpan, false: {"dates", "all"}}[last]...)
		color := rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "value")
		op := rapid.SampledFrom([]string{"==", "!="}).Draw(t, "op")
		return question{fmt.Sprintf("%s(%s) %s %q", map[bool]string{true: "last", false: "first"}[last], args(name, "color", f, s), op, color), func(w *world, at event.Instant) bool {
			list := slices.DeleteFunc(w.past(name, f, s, at), func(e event.Event) bool { return e.Properties.Get("color").Null() })
			slices.SortStableFunc(list, func(a, b event.Event) int { // of two at one instant the larger text is the later
				if a.Occurred != b.Occurred {
					return int(a.Occurred - b.Occurred)
				}
				return strings.Compare(string(a.Properties.Get("color").Raw()), string(b.Properties.Get("color").Raw()))
			})
			if len(list) == 0 {
				return op == "!="
			}
			chosen := list[0]
			if last {
				chosen = list[len(list)-1]
			}
			return (text(&chosen, "color") == color) == (op == "==")
		}}
	case "since":
		op, m := rapid.SampledFrom(orderOps).Draw(t, "op"), rapid.SampledFrom([]int{30, 60, 720, 1440}).Draw(t, "minutes")
		first := rapid.Bool().Draw(t, "first")
		return question{fmt.Sprintf(`since(%s(%q%s)) %s "%dm"`, map[bool]string{true: "first", false: "last"}[first], name, f.text, op, m), func(w *world, at event.Instant) bool {
			list := w.past(name, f, span{in: func(*world, event.Instant, event.Instant) bool { return true }}, at)
			if len(list) == 0 {
				return false
			}
			chosen := list[len(list)-1]
			if first {
				chosen = list[0]
			}
			return holds(op, sign(at-chosen.Occurred, event.Instant(m)*minute))
		}}
	case "sequence":
		within := event.Instant(rapid.SampledFrom([]int{30, 60, 180}).Draw(t, "within"))
		outer := event.Instant(rapid.SampledFrom([]int{180, 720, 1440}).Draw(t, "outer"))
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B"}), 2, 3).Draw(t, "steps")
		steps := make([]string, len(names))
		for i, n := range names {
			steps[i] = fmt.Sprintf("%q", n)
		}
		steps[0] = fmt.Sprintf("[%q%s]", names[0], f.text)
		if f.text == "" {
			steps[0] = fmt.Sprintf("%q", names[0])
		}
		return question{fmt.Sprintf(`sequence([%s], "%dm", "%dm")`, strings.Join(steps, ", "), within, outer), func(w *world, at event.Instant) bool {
			var reach func(i int, after event.Instant) bool
			reach = func(i int, after event.Instant) bool {
				if i == len(names) {
					return at < after+outer*minute
				}
				for _, e := range w.events {
					if e.CountName() != names[i] || e.Occurred > at || i == 0 && !f.passes(&e) {
						continue
					}
					if i > 0 && (e.Occurred <= after || e.Occurred >= after+within*minute) {
						continue
					}
					if reach(i+1, e.Occurred) {
						return true
					}
				}
				return false
			}
			return reach(0, 0)
		}}
	default:
		within := event.Instant(rapid.SampledFrom([]int{30, 60, 180}).Draw(t, "within"))
		outer := event.Instant(rapid.SampledFrom([]int{180, 720, 1440}).Draw(t, "outer"))
		return question{fmt.Sprintf(`not_followed("A", "B", "%dm", "%dm")`, within, outer), func(w *world, at event.Instant) bool {
			var last event.Instant = math.MinInt64
			for _, e := range w.events {
				if e.CountName() == "A" && e.Occurred <= at {
					last = max(last, e.Occurred)
				}
			}
			if last == math.MinInt64 || at >= last+outer*minute || at < last+within*minute {
				return false
			}
			return !slices.ContainsFunc(w.events, func(e event.Event) bool {
				return e.CountName() == "B" && e.Occurred > last && e.Occurred < last+within*minute
			})
		}}
	}
}

func drawQuestion(t *rapid.T, depth int, segments []string) question {
	kind := rapid.IntRange(0, 14).Draw(t, "kind")
	switch {
	case depth == 0 || kind < 4:
		return drawLookBack(t)
	case kind < 6:
		return drawFact(t)
	case kind == 6 && len(segments) > 0:
		id := rapid.SampledFrom(segments).Draw(t, "segment")
		return question{fmt.Sprintf("in_segment(%q)", id), func(w *world, at event.Instant) bool { return w.members[id].answer(w, at) }}
	case kind > 11:
		return drawBehaviour(t)
	case kind == 7:
		part := drawQuestion(t, depth-1, segments)
		return question{"!(" + part.text + ")", func(w *world, at event.Instant) bool { return !part.answer(w, at) }}
	}
	and := kind%2 == 0
	parts := []question{drawQuestion(t, depth-1, segments), drawQuestion(t, depth-1, segments)}
	if rapid.Bool().Draw(t, "three") {
		parts = append(parts, drawQuestion(t, depth-1, segments))
	}
	var texts []string
	for _, p := range parts {
		texts = append(texts, "("+p.text+")")
	}
	return question{strings.Join(texts, map[bool]string{true: " && ", false: " || "}[and]), func(w *world, at event.Instant) bool {
		for _, p := range parts {
			if p.answer(w, at) != and {
				return !and
			}
		}
		return and
	}}
}
