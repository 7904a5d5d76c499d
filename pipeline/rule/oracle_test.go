package rule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// question is a rule with an answer of its own: it looks at all events, at any instant, with no incremental state.
type question struct {
	text   string
	answer func(h *history, at event.Instant) bool
	single bool // one windowed comparison with one threshold: until must be exact
}

// history is everything that has arrived.
type history struct {
	events  []event.Event
	consent bool
	windows []time.Duration
}

func (h *history) count(name, color string, w time.Duration, at event.Instant) int {
	n := 0
	for _, e := range h.events {
		if e.Name != name {
			continue
		}
		if c, _ := e.Properties.Get("color").Text(); color != "" && c != color {
			continue
		}
		if e.Occurred <= at && at < e.Occurred.Add(w) {
			n++
		}
	}
	return n
}

// changes are the instants after from at which any window can open or close, ascending.
func (h *history) changes(from event.Instant) []event.Instant {
	var at []event.Instant
	for _, e := range h.events {
		at = append(at, e.Occurred)
		for _, w := range h.windows {
			at = append(at, e.Occurred.Add(w))
		}
	}
	slices.Sort(at)
	return slices.DeleteFunc(slices.Compact(at), func(i event.Instant) bool { return i <= from })
}

func windowedQuestion(t *rapid.T) question {
	name := rapid.SampledFrom([]string{"A", "B"}).Draw(t, "event")
	color := rapid.SampledFrom([]string{"", "", "red", "blue"}).Draw(t, "color")
	w := time.Duration(rapid.IntRange(1, 6).Draw(t, "window")) * time.Second
	args := fmt.Sprintf("%q, ", name)
	if color != "" {
		args += fmt.Sprintf(`{"color": %q}, `, color)
	}
	args += fmt.Sprintf(`"%ds"`, int(w.Seconds()))
	if rapid.Bool().Draw(t, "did") {
		return question{text: "did(" + args + ")", single: true, answer: func(h *history, at event.Instant) bool {
			return h.count(name, color, w, at) >= 1
		}}
	}
	op := rapid.SampledFrom([]string{">=", ">", "<", "<=", "==", "!="}).Draw(t, "op")
	n := rapid.IntRange(1, 4).Draw(t, "n")
	return question{
		text: fmt.Sprintf("count(%s) %s %d", args, op, n), single: op != "==" && op != "!=",
		answer: func(h *history, at event.Instant) bool {
			c := h.count(name, color, w, at)
			switch op {
			case ">=":
				return c >= n
			case ">":
				return c > n
			case "<":
				return c < n
			case "<=":
				return c <= n
			case "==":
				return c == n
			default:
				return c != n
			}
		},
	}
}

func drawQuestion(t *rapid.T, depth int) question {
	kind := rapid.IntRange(0, 9).Draw(t, "kind")
	switch {
	case depth == 0 || kind < 3:
		return windowedQuestion(t)
	case kind == 3:
		return question{text: `consent("email")`, answer: func(h *history, _ event.Instant) bool { return h.consent }}
	case kind == 4:
		part := drawQuestion(t, depth-1)
		return question{text: "!(" + part.text + ")", single: part.single, answer: func(h *history, at event.Instant) bool {
			return !part.answer(h, at)
		}}
	}
	and := kind < 7
	parts := []question{drawQuestion(t, depth-1), drawQuestion(t, depth-1)}
	if rapid.Bool().Draw(t, "three") {
		parts = append(parts, drawQuestion(t, depth-1))
	}
	var texts []string
	for _, p := range parts {
		texts = append(texts, "("+p.text+")")
	}
	operator := map[bool]string{true: " && ", false: " || "}[and]
	return question{text: strings.Join(texts, operator), answer: func(h *history, at event.Instant) bool {
		for _, p := range parts {
			if p.answer(h, at) != and {
				return !and
			}
		}
		return and
	}}
}

const second = event.Instant(1000)

// The incremental answer, from the leaves' times alone, is the answer over all events: at any instant, for
// late and coming events in any order of arrival, exactly on the edges of windows. And it holds until `until`.
func TestEvalAgreesWithAllEvents(t *testing.T) {
	c := compiler(t)
	rapid.Check(t, func(t *rapid.T) {
		var asked []question
		var rules []*Rule
		for range rapid.IntRange(1, 3).Draw(t, "rules") {
			q := drawQuestion(t, 2)
			r, err := c.Compile(q.text)
			if err != nil {
				t.Fatalf("%s: %v", q.text, err)
			}
			asked, rules = append(asked, q), append(rules, r)
		}
		leaves := NewLeafSet(rules...)
		h := &history{consent: rapid.Bool().Draw(t, "consent")}
		for i := range 6 {
			h.windows = append(h.windows, time.Duration(i+1)*time.Second)
		}
		p := profile.New("p")
		p.Now = 1000 * second
		if h.consent {
			p.Consents = map[string]profile.Consent{"email": {Granted: true}}
		}
		// Half seconds, so that edges meet often.
		offset := func(low, high int, label string) event.Instant {
			return event.Instant(rapid.IntRange(2*low, 2*high).Draw(t, label)) * second / 2
		}
		for range rapid.IntRange(0, 25).Draw(t, "steps") {
			p.Now += offset(0, 3, "pause")
			if rapid.IntRange(0, 4).Draw(t, "what") > 0 {
				e := event.Event{
					Type: event.Track, Name: rapid.SampledFrom([]string{"A", "A", "B", "C"}).Draw(t, "name"),
					Occurred:   p.Now + offset(-8, 8, "occurred"),
					Properties: event.Object(fmt.Sprintf(`{"color":%q}`, rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "color"))),
				}
				h.events = append(h.events, e)
				leaves.Record(p, &e)
			}
			if rapid.IntRange(0, 3).Draw(t, "expire") == 0 {
				leaves.Expire(p)
			}
			at := p.Now + offset(0, 10, "later")
			for i, r := range rules {
				check(t, asked[i], r, h, p, at)
				check(t, asked[i], r, h, p, p.Now)
			}
		}
	})
}

func check(t *rapid.T, q question, r *Rule, h *history, p *profile.Profile, at event.Instant) {
	t.Helper()
	got, until := r.Eval(Input{Profile: p, Now: at})
	if want := q.answer(h, at); got != want {
		t.Fatalf("%s at %d (clock %d): %v, over all events %v; kept %v", q.text, at, p.Now, got, want, p.Windows)
	}
	if until != 0 && until <= at {
		t.Fatalf("%s at %d: until %d is not later", q.text, at, until)
	}
	for _, change := range h.changes(at) {
		if until != 0 && change >= until {
			break
		}
		if q.answer(h, change) != got {
			t.Fatalf("%s at %d: %v until %d, but it changes at %d; kept %v", q.text, at, got, until, change, p.Windows)
		}
	}
	if q.single && until != 0 && q.answer(h, until) == got {
		t.Fatalf("%s at %d: %v until %d, but it doesn't change then; kept %v", q.text, at, got, until, p.Windows)
	}
}

// What a profile keeps is the same for any order of arrival, and bounded.
func TestKeptTimesDoNotDependOnOrder(t *testing.T) {
	r := compile(t, `count("A", "10s") >= 3 || did("A", {"color": "red"}, "5s") || count("A", "10s") < 2`)
	leaves := NewLeafSet(r)
	rapid.Check(t, func(t *rapid.T) {
		var events []event.Event
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			events = append(events, event.Event{
				Type: event.Track, Name: "A", Occurred: 1000*second + event.Instant(rapid.IntRange(-12, 12).Draw(t, "at"))*second,
				Properties: event.Object(fmt.Sprintf(`{"color":%q}`, rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "color"))),
			})
		}
		kept := func(order []event.Event) map[uint64][]event.Instant {
			p := profile.New("p")
			p.Now = 1000 * second
			for i := range order {
				leaves.Record(p, &order[i])
			}
			for _, l := range r.Leaves() {
				times := p.Windows[l.ID]
				if past := len(times) - aheadOf(times, p.Now); past > l.Keep() {
					t.Fatalf("%d times kept of %s, %d needed", past, l.Definition(), l.Keep())
				}
				if !slices.IsSortedFunc(times, func(a, b event.Instant) int { return int(b - a) }) {
					t.Fatalf("times are not newest first: %v", times)
				}
			}
			return p.Windows
		}
		shuffled := rapid.Permutation(events).Draw(t, "order")
		if diff := cmp.Diff(kept(slices.Clone(events)), kept(shuffled)); diff != "" {
			t.Fatal(diff)
		}
	})
}
