package segment

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// half is one of two profiles that turn out to be one customer.
type half struct {
	*merging
	p       *profile.Profile
	w       *world
	in      map[string]bool
	past    []pipeline.PastEvent // its log's events
	known   bool                 // something has happened
	gone    bool                 // it goes on in the other half
	newer   bool                 // it began after the switch, though perhaps with what was accepted before
	checked event.Instant        // up to which its flips are held against what has arrived
}

// merging are two profiles in the middle of a change of definitions. What the loser sends waits for the winner.
type merging struct {
	t             *rapid.T
	chain         *pipeline.Chain
	position      uint64
	switched      event.Instant // zero: not yet
	before, after map[string]question
	winner, loser *half
	under         []event.Event // way from the loser's log to the winner's
	story         string
}

// apply runs a record of the half's log, and holds the flips against everything that has arrived, at the record and at
// each instant since the one before at which an answer may change. arrives is what the record brings.
func (h *half) apply(e event.Event, arrives ...event.Event) {
	h.position++
	if e.Type == event.Track {
		h.past = append(h.past, pipeline.PastEvent{Position: h.position, Type: e.Type, Name: e.Name, Occurred: e.Occurred, Properties: e.Properties})
	}
	h.p = reread(h.t, h.p)
	h.newer = h.newer || h.p.Applied == 0 && h.switched != 0
	h.story += fmt.Sprintf("%d: %s %s for %s, accepted %s occurred %s\n", h.position, e.Type, e.Name, h.p.ID, e.Accepted, e.Occurred)
	r, err := h.chain.Apply(h.p, &e, h.position)
	if err != nil {
		h.t.Fatal(err)
	}
	h.under = append(h.under, r.Leaving...)
	changes := r.Facts.Changes
	follow := func(to event.Instant) {
		for ; len(changes) > 0 && changes[0].At <= to; changes = changes[1:] {
			if h.in[changes[0].Segment] == changes[0].Entered {
				h.t.Fatalf("%s flips %s to %v at %s, where it was\n%s", h.p.ID, changes[0].Segment, changes[0].Entered, changes[0].At, h.story)
			}
			h.in[changes[0].Segment] = changes[0].Entered
		}
	}
	if h.known && !h.gone {
		instants := h.w.boundaries(h.checked, h.p.Now)
		if h.switched > h.checked && h.switched < h.p.Now {
			instants = append(instants, h.switched-1, h.switched)
			slices.Sort(instants)
		}
		for _, at := range instants {
			follow(at)
			h.expect(at)
		}
	}
	h.w.events = append(h.w.events, arrives...)
	h.known, h.gone = h.known || len(arrives) > 0, h.p.Into != ""
	follow(h.p.Now)
	if len(changes) > 0 {
		h.t.Fatalf("%s flips at %s, after its clock\n%s", h.p.ID, changes[0].At, h.story)
	}
	if h.known {
		h.expect(h.p.Now)
	}
	h.checked = h.p.Now
}

func (h *half) expect(at event.Instant) {
	members := h.before
	if h.newer || h.switched != 0 && at >= h.switched {
		members = h.after
	}
	h.w.members = members
	for i := range 6 {
		id := fmt.Sprintf("s%d", i)
		q, defined := members[id]
		if want := defined && !h.gone && q.answer(h.w, at); h.in[id] != want {
			h.t.Fatalf("%s at %s: %s is %v, over all events %v: %s\n%s%s", h.p.ID, at, id, h.in[id], want, q.text, h.story, h.w.describe(nil))
		}
	}
}

// happen lets an event happen to the half; where it has gone on in the winner, it is on its way there.
func (h *half) happen(e event.Event) {
	if h.p.Into != "" {
		h.apply(e)
		return
	}
	h.apply(e, e)
}

// arrive brings what is under way into the winner's log.
func (m *merging) arrive() {
	under := m.under
	m.under = nil
	for _, e := range under {
		switch e.Type {
		case event.Transfer:
			m.winner.apply(e, m.loser.w.events...)
		case event.Prepare:
			m.winner.apply(e)
		default:
			m.winner.apply(e, e)
		}
	}
}

// prepare appends what a rollout appends for the half; that it has all, only where it doesn't go on in the other one.
func (h *half) prepare(at event.Instant) {
	for _, e := range preparations(h.t, at, h.past, h.p.Into == "") {
		h.apply(e)
	}
}

// A profile goes on in another one while definitions change: before they are staged, while they are prepared, after the
// switch, or all along. Whichever half each event fell to, and whichever half is prepared when, each half's flips are those
// of an evaluation of its own events, and those of the winner, once it has taken in the loser, of an evaluation of all.
func TestFlipsAreExactWhenProfilesMergeAcrossAChange(t *testing.T) {
	compiler, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		lawStart = zonesOfChange()["Asia/Kathmandu"]
		defs, members := drawLookBacks(t, nil)
		nextDefs, nextMembers := drawLookBacks(t, members)
		before, err := New(defs, compiler)
		if err != nil {
			t.Fatal(err)
		}
		after, err := New(nextDefs, compiler)
		if err != nil {
			t.Fatal(err)
		}
		staged := preparing(enrich{}, before, after)

		m := &merging{t: t, chain: chain(1, enrich{}, before), before: members, after: nextMembers}
		m.winner = &half{merging: m, p: profile.New("w"), w: &world{id: "w"}, in: map[string]bool{}}
		m.loser = &half{merging: m, p: profile.New("l"), w: &world{id: "l"}, in: map[string]bool{}}
		m.story = fmt.Sprintf("before %v\nafter %v\n", defs, nextDefs)

		var events []event.Event
		for _, e := range drawHistory(t, "UTC") {
			if e.Type == event.Track {
				e.Consent, e.Context = nil, nil
				events = append(events, e)
			}
		}
		n := len(events)
		stagedAt := rapid.IntRange(0, n).Draw(t, "staged at")
		winnerAt := rapid.IntRange(stagedAt, n).Draw(t, "winner prepared at")
		loserAt := rapid.IntRange(stagedAt, n).Draw(t, "loser prepared at")
		switchedAt := rapid.IntRange(max(winnerAt, loserAt), n).Draw(t, "switched at")
		leavesAt := rapid.IntRange(0, n).Draw(t, "leaves at")
		arrivesAt := rapid.IntRange(leavesAt, n).Draw(t, "arrives at")
		m.story += fmt.Sprintf("staged before event %d, prepared %d and %d, switched %d, leaves %d, arrives %d\n", stagedAt, winnerAt, loserAt, switchedAt, leavesAt, arrivesAt)
		at := lawStart
		for i := range n + 1 {
			next := at + hour
			if i < n {
				next = events[i].Accepted
			}
			between := func() event.Instant {
				at += event.Instant(rapid.Int64Range(0, int64(next-at)).Draw(t, "at"))
				return at
			}
			todo := []func(){}
			if i == stagedAt {
				todo = append(todo, func() { m.chain, m.position = staged, m.position+1 })
			}
			prepares := []func(){}
			if i == winnerAt {
				prepares = append(prepares, func() { m.winner.prepare(between()) })
			}
			if i == loserAt {
				prepares = append(prepares, func() { m.loser.prepare(between()) })
			}
			todo = append(todo, rapid.Permutation(prepares).Draw(t, "prepares")...)
			if i == switchedAt {
				todo = append(todo, func() {
					if m.loser.p.Into != "" && slices.ContainsFunc(m.under, func(e event.Event) bool { return e.Type == event.Prepare }) {
						m.arrive() // the rollout waits for what is under way
					}
					m.switched = max(between(), m.winner.p.Now, m.loser.p.Now)
					m.chain, m.position = following(enrich{}, staged, after, m.switched), m.position+1
				})
			}
			merges := []func(){}
			if i == leavesAt {
				merges = append(merges, func() {
					m.loser.apply(event.Event{Type: event.Merge, Profile: "l", Accepted: between(), Merge: &event.MergeRecord{Loser: "l", Winner: "w"}})
				})
			}
			if i == arrivesAt {
				merges = append(merges, m.arrive)
			}
			// Whatever comes first: each of the two keeps its own order.
			for len(todo)+len(merges) > 0 {
				if len(merges) == 0 || len(todo) > 0 && rapid.Bool().Draw(t, "change first") {
					todo[0]()
					todo = todo[1:]
				} else {
					merges[0]()
					merges = merges[1:]
				}
			}
			if i == n {
				break
			}
			of := m.winner
			if rapid.Bool().Draw(t, "loser's") && (m.loser.p.Into == "" || rapid.Bool().Draw(t, "late")) {
				of = m.loser
			}
			of.happen(events[i])
			at = max(at, next)
			if i >= arrivesAt {
				m.arrive()
			}
		}
		m.arrive()
		at = max(at, m.winner.p.Now, m.loser.p.Now) + 75*hour
		if m.winner.known {
			m.winner.apply(event.Event{Type: event.Wake, Accepted: at})
			if m.winner.p.Next != nil {
				t.Fatalf("what was staged is still kept beside what is in force\n%s", m.story)
			}
		}
	})
}

// drawLookBacks draws segments that look back at events only; some are taken from others.
func drawLookBacks(t *rapid.T, from map[string]question) (defs []Definition, members map[string]question) {
	members = map[string]question{}
	for i := range rapid.IntRange(1, 3).Draw(t, "segments") {
		id := fmt.Sprintf("s%d", i+rapid.IntRange(0, 1).Draw(t, "shift"))
		if _, taken := members[id]; taken {
			continue
		}
		q := drawLookBack(t)
		if same, ok := from[id]; ok && rapid.Bool().Draw(t, "same") {
			q = same
		} else if rapid.Bool().Draw(t, "not") {
			answer := q.answer
			q = question{"!(" + q.text + ")", func(w *world, at event.Instant) bool { return !answer(w, at) }}
		}
		members[id] = q
		defs = append(defs, Definition{ID: id, When: q.text})
	}
	return defs, members
}
