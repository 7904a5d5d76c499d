package segment

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// drawBehaviour asks what the customer leans to, has in the cart, and where they stand.
func drawBehaviour(t *rapid.T) question {
	op := rapid.SampledFrom(allOps).Draw(t, "op")
	color := rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "color")
	is := rapid.SampledFrom([]string{"==", "!="}).Draw(t, "is")
	n := rapid.IntRange(0, 3).Draw(t, "n")
	switch rapid.IntRange(0, 14).Draw(t, "behaviour") {
	case 0:
		share := float64(rapid.IntRange(0, 20).Draw(t, "share")) / 20
		return question{fmt.Sprintf(`affinity("category", %q) %s %v`, color, op, share), func(w *world, _ event.Instant) bool {
			weights, total := w.leanings()
			is := 0.0
			if total > 0 {
				is = math.Round(float64(weights[color]/total)*1e4) / 1e4
			}
			return holds(op, sign(is, share))
		}}
	case 1:
		return question{fmt.Sprintf(`favourite("category") %s %q`, is, color), func(w *world, _ event.Instant) bool {
			return (w.favourite() == color) == (is == "==")
		}}
	case 2:
		return question{fmt.Sprintf(`customer.style_group in [%q, "green"]`, color), func(w *world, _ event.Instant) bool {
			return slices.Contains([]string{color, "green"}, w.favourite())
		}}
	case 3:
		least := float64(rapid.IntRange(80, 450).Draw(t, "confidence")) / 1000
		op := rapid.SampledFrom([]string{">=", "<"}).Draw(t, "side")
		return question{fmt.Sprintf(`customer.style_confidence %s %v`, op, least), func(w *world, at event.Instant) bool {
			return w.confident(least, at) == (op == ">=")
		}}
	case 4:
		return question{fmt.Sprintf(`customer.cart_products %s %d`, op, n), func(w *world, _ event.Instant) bool { return holds(op, sign(len(w.cart()), n)) }}
	case 5:
		return question{fmt.Sprintf(`customer.cart_items %s %d`, op, n), func(w *world, _ event.Instant) bool {
			items := 0
			for _, line := range w.cart() {
				items += len(line)
			}
			return holds(op, sign(items, n))
		}}
	case 6:
		return question{fmt.Sprintf(`in_cart(%q)`, color), func(w *world, _ event.Instant) bool { return len(w.cart()[color]) > 0 }}
	case 7:
		minutes := event.Instant(rapid.SampledFrom([]int{30, 60, 720, 1440}).Draw(t, "minutes"))
		op := rapid.SampledFrom(orderOps).Draw(t, "order")
		return question{fmt.Sprintf(`since(customer.cart_changed) %s "%dm"`, op, minutes), func(w *world, at event.Instant) bool {
			last := event.Instant(math.MinInt64)
			for _, line := range w.cart() {
				for _, e := range line {
					last = max(last, e.Occurred)
				}
			}
			return last != math.MinInt64 && last <= at && holds(op, sign(at-last, minutes*minute))
		}}
	case 8:
		stage := rapid.SampledFrom([]string{"visitor", "new", "active", "at_risk", "lapsed"}).Draw(t, "stage")
		return question{fmt.Sprintf(`customer.lifecycle %s %q`, is, stage), func(w *world, at event.Instant) bool {
			stand, _ := w.standing(at)
			return (stand == stage) == (is == "==")
		}}
	case 9:
		return question{fmt.Sprintf(`customer.tier %s "gold"`, is), func(w *world, at event.Instant) bool {
			_, tier := w.standing(at)
			return (tier == "gold") == (is == "==")
		}}
	case 12:
		of := rapid.SampledFrom([]string{"propensity", "confidence"}).Draw(t, "of")
		return question{fmt.Sprintf(`%s("purchase") %s 0.%d`, of, op, n), func(w *world, at event.Instant) bool {
			value, confidence, ok := w.propensity(at)
			if of == "confidence" {
				value = confidence
			}
			if !ok {
				return op == "!="
			}
			return holds(op, sign(value, float64(n)/10))
		}}
	case 13:
		minutes := event.Instant(rapid.SampledFrom([]int{30, 60, 720, 1440}).Draw(t, "minutes"))
		op := rapid.SampledFrom(orderOps).Draw(t, "order")
		return question{fmt.Sprintf(`since(customer.propensity_scored) %s "%dm"`, op, minutes), func(w *world, at event.Instant) bool {
			if len(w.events) == 0 {
				return false
			}
			scored := w.events[len(w.events)-1].Accepted
			for next := scored + scoreTick; next <= at; next += scoreTick {
				scored = next
			}
			return holds(op, sign(at-scored, minutes*minute))
		}}
	case 10, 11:
		return question{fmt.Sprintf(`customer.recency_days %s %d`, op, n), func(w *world, at event.Instant) bool {
			_, last, count := w.orders()
			if count == 0 {
				return op == "!="
			}
			return holds(op, sign(max(0, int64(at-last))/int64(24*hour), int64(n)))
		}}
	default:
		hour := rapid.IntRange(0, 23).Draw(t, "hour")
		return question{fmt.Sprintf(`customer.send_hour %s %d`, op, hour), func(w *world, at event.Instant) bool {
			p := profile.New("")
			for i := range w.events {
				if e := &w.events[i]; e.Type == event.Track {
					p.Lean(profile.Hour, profile.HourName(e.Occurred), profile.Decay(e))
				}
			}
			best, _, ok := p.SendHour(time.Duration(offset(at, w.location())) * time.Second)
			if !ok {
				return op == "!="
			}
			return holds(op, sign(best, hour))
		}}
	}
}

// propensity is foretold by the number of A, and falls by a tenth every six hours since the last record.
func (w *world) propensity(at event.Instant) (value, confidence float64, ok bool) {
	if len(w.events) == 0 || w.total("A") == 0 {
		return 0, 0, false
	}
	tenths := w.total("A")
	for t := w.events[len(w.events)-1].Accepted + scoreTick; t <= at && tenths > 0; t += scoreTick {
		tenths--
	}
	return float64(tenths) / 10, float64(tenths%4) / 10, true
}

// leanings are the weights of colors as of their time, and their sum.
func (w *world) leanings() (weights map[string]profile.Decayed, total profile.Decayed) {
	weights = map[string]profile.Decayed{}
	for i := range w.events {
		if e := &w.events[i]; e.Type == event.Track && text(e, "color") != "" {
			weights[text(e, "color")] += profile.Decay(e)
		}
	}
	for _, color := range []string{"blue", "green", "red"} {
		total += weights[color]
	}
	return weights, total
}

func (w *world) favourite() (best string) {
	weights, _ := w.leanings()
	for _, color := range []string{"blue", "green", "red"} {
		if weights[color] > weights[best]*(1+1e-9) {
			best = color
		}
	}
	return best
}

// confident asks a profile that holds nothing but the leanings, and not until when.
func (w *world) confident(least float64, at event.Instant) bool {
	p := profile.New("")
	for i := range w.events {
		if e := &w.events[i]; e.Type == event.Track && text(e, "color") != "" {
			p.Lean(profile.Category, text(e, "color"), profile.Decay(e))
		}
	}
	ok, _ := p.StyleConfident(least, at)
	return ok
}

var askedConfidence = regexp.MustCompile(`style_confidence (?:>=|<) ([0-9.]+)`)

// fades are the instants at which a confidence that rules ask for is lost before the next record.
func (w *world) fades(from, to event.Instant) (at []event.Instant) {
	var asked [][]string
	for _, id := range slices.Sorted(maps.Keys(w.members)) {
		asked = append(asked, askedConfidence.FindAllStringSubmatch(w.members[id].text, -1)...)
	}
	for _, found := range asked {
		least, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			panic(err)
		}
		if !w.confident(least, from) || w.confident(least, to) {
			continue
		}
		holds, fails := from, to
		for fails-holds > 1 {
			if middle := holds + (fails-holds)/2; w.confident(least, middle) {
				holds = middle
			} else {
				fails = middle
			}
		}
		at = append(at, fails)
	}
	return at
}

// cart are the A of each color that no later B has emptied.
func (w *world) cart() map[string][]event.Event {
	_, last, count := w.orders()
	cart := map[string][]event.Event{}
	for _, e := range w.events {
		if e.Type == event.Track && e.Name == "A" && text(&e, "color") != "" && (count == 0 || e.Occurred > last) {
			cart[text(&e, "color")] = append(cart[text(&e, "color")], e)
		}
	}
	return cart
}

func (w *world) orders() (first, last event.Instant, count int) {
	for i := range w.events {
		if e := &w.events[i]; e.CountName() == "B" {
			if count == 0 {
				first, last = e.Occurred, e.Occurred
			}
			first, last, count = min(first, e.Occurred), max(last, e.Occurred), count+1
		}
	}
	return first, last, count
}

func (w *world) standing(at event.Instant) (stage, tier string) {
	first, last, count := w.orders()
	switch {
	case count == 0:
		return "visitor", ""
	case at < first+newFor:
		stage = "new"
	case at < last+activeFor:
		stage = "active"
	case at < last+lapsesIn:
		stage = "at_risk"
	default:
		stage = "lapsed"
	}
	if count >= 2 && at < last+activeFor {
		tier = "gold"
	}
	return stage, tier
}
