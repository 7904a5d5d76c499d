package segment

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"attune/pipeline/event"
)

func drawFact(t *rapid.T) question {
	op := rapid.SampledFrom(orderOps).Draw(t, "op")
	minutes := event.Instant(rapid.SampledFrom([]int{30, 60, 720, 1440}).Draw(t, "minutes"))
	switch rapid.IntRange(0, 13).Draw(t, "fact") {
	case 0:
		return question{`trait("plan") == "pro"`, func(w *world, _ event.Instant) bool { return w.trait("plan").Is("pro") }}
	case 1:
		return question{`trait("plan") in ["pro", "team", 3]`, func(w *world, _ event.Instant) bool {
			v := w.trait("plan")
			n, ok := v.Number()
			return v.Is("pro") || v.Is("team") || ok && n == 3
		}}
	case 2:
		n := rapid.IntRange(0, 5).Draw(t, "n")
		return question{fmt.Sprintf(`trait("level") %s %d`, op, n), func(w *world, _ event.Instant) bool {
			level, ok := w.trait("level").Number()
			return ok && holds(op, sign(level, float64(n)))
		}}
	case 3:
		return question{`trait("address.city").startsWith("Lo") || "vip" in trait("tags")`, func(w *world, _ event.Instant) bool {
			address, _ := w.trait("address").Object()
			city, _ := address.Get("city").Text()
			return strings.HasPrefix(city, "Lo") || strings.Contains(string(w.trait("tags").Raw()), `"vip"`)
		}}
	case 4:
		return question{`has_trait("plan")`, func(w *world, _ event.Instant) bool { return !w.trait("plan").Null() }}
	case 5:
		return question{`consent("email")`, func(w *world, _ event.Instant) (granted bool) {
			for _, e := range w.events {
				if said, ok := e.Consent["email"]; ok {
					granted = said
				}
			}
			return granted
		}}
	case 6:
		n := rapid.IntRange(1, 4).Draw(t, "n")
		return question{fmt.Sprintf(`total("A") %s %d`, op, n), func(w *world, _ event.Instant) bool { return holds(op, sign(w.total("A"), n)) }}
	case 7:
		return question{fmt.Sprintf(`since(trait("joined")) %s "%dm"`, op, minutes), func(w *world, at event.Instant) bool {
			joined, ok := w.moment("joined")
			return ok && joined <= at && holds(op, sign(at-joined, minutes*minute))
		}}
	case 8:
		return question{fmt.Sprintf(`until(trait("joined")) %s "%dm"`, op, minutes), func(w *world, at event.Instant) bool {
			joined, ok := w.moment("joined")
			return ok && joined >= at && holds(op, sign(joined-at, minutes*minute))
		}}
	case 9:
		d := lawStart + event.Instant(rapid.IntRange(-10, 40).Draw(t, "date"))*30*minute
		return question{fmt.Sprintf(`trait("joined") %s date(%q)`, op, d), func(w *world, _ event.Instant) bool {
			joined, ok := w.moment("joined")
			return ok && holds(op, sign(joined, d))
		}}
	case 10:
		return question{fmt.Sprintf(`since(customer.last_seen) %s "%dm"`, op, minutes), func(w *world, at event.Instant) bool {
			last, ok := w.lastSeen()
			return ok && last <= at && holds(op, sign(at-last, minutes*minute))
		}}
	case 11:
		n := rapid.IntRange(0, 90).Draw(t, "clv")
		return question{fmt.Sprintf(`customer.clv %s %d`, op, n), func(w *world, at event.Instant) bool {
			return holds(op, sign(w.score(at), event.Money(n)*event.MoneyUnit))
		}}
	case 12:
		name := rapid.SampledFrom([]string{"A", "C"}).Draw(t, "counted")
		return question{fmt.Sprintf(`total(%q) %s customer.orders`, name, op), func(w *world, _ event.Instant) bool {
			return holds(op, sign(w.total(name), w.total("B")))
		}}
	default:
		n := rapid.IntRange(0, 3).Draw(t, "orders")
		return question{fmt.Sprintf(`customer.orders %s %d && customer.orders != customer.clv`, op, n), func(w *world, at event.Instant) bool {
			return holds(op, sign(w.total("B"), n)) && float64(w.total("B")) != w.score(at).Float()
		}}
	}
}

func (w *world) total(name string) int {
	n := 0
	for i := range w.events {
		if w.events[i].CountName() == name {
			n++
		}
	}
	return n
}

func (w *world) moment(trait string) (event.Instant, bool) {
	s, ok := w.trait(trait).Text()
	if !ok {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return event.At(t), err == nil
}

func (w *world) lastSeen() (last event.Instant, ok bool) {
	for i := range w.events {
		last, ok = max(last, w.events[i].Occurred), true
	}
	return last, ok
}

// score is 40 for each B, halved every six hours since the last record.
func (w *world) score(at event.Instant) event.Money {
	if len(w.events) == 0 {
		return 0
	}
	score := event.Money(w.total("B")) * 40 * event.MoneyUnit
	for t := w.events[len(w.events)-1].Accepted + scoreTick; t <= at && score > 0; t += scoreTick {
		score /= 2
	}
	return score
}
