package rule

import (
	"math"
	"math/bits"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Work is one step of a [Set] over one customer: what happened is noted, then each rule that may have changed is asked,
// by rank. It is used by one goroutine.
type Work struct {
	set          *Set
	view, before view
	memo         memo
	// Which rules to ask, by rank: if they are true, and if they are false.
	ifIn, ifOut []uint64
	members     *profile.Members
	word        int // where Next goes on
}

// Begin starts a step at now, not earlier than p.Now. End must follow.
func (s *Set) Begin(p *profile.Profile, now event.Instant) *Work {
	w := s.works.Get().(*Work)
	w.memo.forget()
	w.view.p, w.view.now, w.view.memo = p, now, &w.memo
	w.before.now, w.word = now, 0
	w.members = s.members(p)
	return w
}

// members are the customer's segments by rank.
func (s *Set) members(p *profile.Profile) *profile.Members {
	if m := p.Members; m != nil && m.Set == s && m.Count == len(p.Segments) {
		return m
	}
	m := &profile.Members{Set: s, Count: len(p.Segments), In: make([]uint64, (len(s.rules)+63)/64), Held: make([]uint8, len(s.rules))}
	for rank := range m.Held {
		m.Held[rank] = everyPart
	}
	for id, membership := range p.Segments {
		if rank, ok := s.rank[id]; ok && membership.In {
			m.In[rank>>6] |= 1 << (rank & 63)
		}
	}
	p.Members = m
	return m
}

// End gives back what the step used.
func (w *Work) End() {
	w.members.Count = len(w.view.p.Segments)
	w.view.p, w.before.p, w.members = nil, nil, nil
	w.set.works.Put(w)
}

// All marks every rule.
func (w *Work) All() {
	for rank := range w.set.rules {
		w.Mark(rank)
	}
}

// Fresh marks the rules that may be true for a customer of whom nothing is known. The customer's first event is noted
// beside it.
func (w *Work) Fresh() {
	for _, rank := range w.set.fresh {
		w.Mark(int(rank))
	}
}

// Mark has a rule asked in any case, such as one whose answer is due.
func (w *Work) Mark(rank int) {
	bit := uint64(1) << (rank & 63)
	w.ifIn[rank>>6] |= bit
	w.ifOut[rank>>6] |= bit
}

// Note records what the leaves need of an event, which the profile's other parts hold already, and marks the rules that
// the step may have changed. e is nil for a step without an event.
func (w *Work) Note(e *event.Event, before *profile.Before) {
	w.before.p = &before.Profile
	x, p := &w.set.index, w.view.p
	if e != nil {
		w.record(e)
		w.noteTraits(before)
		w.noteConsents(e)
		if t := x.totals[e.CountName()]; t != nil {
			w.noteTotal(t, float64(before.Count), float64(p.Count(e.CountName())))
		}
	}
	if e != nil && (e.Type == event.Track || e.Type == event.Page || e.Type == event.Screen) {
		w.uncertain(x.acts)
	}
	if len(x.zoned) > 0 && p.Zone.Name != before.Profile.Zone.Name {
		w.uncertain(x.zoned)
	}
	for kind, atoms := range x.words {
		if len(atoms) > 0 {
			of := words{kind: wordKind(kind)}
			was, wasUntil := of.get(&w.before)
			if is, until := of.get(&w.view); is != was || shorter(wasUntil, until) {
				w.compare(atoms)
			}
		}
	}
	for kind, t := range x.numbers {
		if t != nil {
			w.noteNumber(&number{kind: numberKind(kind)}, t)
		}
	}
	for i := range x.scores {
		w.noteNumber(&x.scores[i].number, &x.scores[i].thresholds)
	}
	for kind, atoms := range x.moments {
		if len(atoms) > 0 {
			m := moment{kind: momentKind(kind)}
			was, _, _ := m.get(w.before.p, w.view.now)
			if is, _, _ := m.get(p, w.view.now); is != was {
				w.compare(atoms)
			}
		}
	}
}

// record lets the leaves keep the event, and notes what that changed.
func (w *Work) record(e *event.Event) {
	in := w.set.leaves.byEvent[e.CountName()]
	if in == nil {
		return
	}
	p := w.view.p
	in.each(e, func(l *Leaf) {
		atoms := w.set.index.leaves[l.ID]
		var known [16]answer
		was := known[:0]
		for _, id := range atoms {
			ok, until := w.set.quick[id].eval(w.set, int(id), &w.view)
			was = append(was, answer{ok: ok, until: until})
		}
		l.Record(p, e)
		for i, id := range atoms {
			w.memo.drop(int(id)) // a sequence may have been asked between its steps
			w.changed(id, was[i].ok, was[i].until)
		}
	})
}

func (w *Work) noteTraits(before *profile.Before) {
	x, p := &w.set.index, w.view.p
	if len(before.Traits) > 0 && len(p.Traits) >= profile.MaxNames { // one may have made room for another
		w.uncertain(x.allTrait)
		return
	}
	for i := range before.Traits {
		t := x.traits[before.Traits[i].Name]
		if t == nil {
			continue
		}
		was, is := before.Traits[i].Value, p.Traits[before.Traits[i].Name].Value
		if string(was) != string(is) {
			w.noteTrait(t, w.set.readTrait(event.ValueOf(was)), w.set.readTrait(event.ValueOf(is)))
		}
	}
}

func (w *Work) noteConsents(e *event.Event) {
	consents := w.set.index.consents
	if len(e.Consent) > 0 && len(w.view.p.Consents) >= profile.MaxNames { // one may have made room for another
		for _, atoms := range consents {
			w.uncertain(atoms)
		}
		return
	}
	for channel := range e.Consent {
		w.uncertain(consents[channel])
	}
}

func (w *Work) noteTrait(t *traitAtoms, was, is traitValue) {
	for _, v := range [2]*traitValue{&was, &is} {
		if v.isText {
			for _, id := range t.byText[string(v.text)] {
				w.passed(id, &was, &is)
			}
		}
	}
	numbers := t.numbers.atoms
	if was.isNumber && is.isNumber {
		numbers = t.numbers.between(was.number, is.number)
	}
	for _, list := range [2][]int32{numbers, t.others} {
		for _, id := range list {
			w.passed(id, &was, &is)
		}
	}
	w.uncertain(t.unclear)
}

// passed notes a test of a trait that was something else before.
func (w *Work) passed(id int32, was, is *traitValue) {
	var ok, wasOK bool
	switch q := &w.set.quick[id]; q.kind {
	case word:
		ok, wasOK = is.word == q.n, was.word == q.n
	case inOrder:
		ok = is.isNumber && inOrderWith(q.op, is.number, q.limit)
		wasOK = was.isNumber && inOrderWith(q.op, was.number, q.limit)
	default:
		t := &w.set.atoms[id].test
		ok, wasOK = t.holdsFor(is), t.holdsFor(was)
	}
	w.memo.put(id, ok)
	if ok != wasOK {
		w.flipped(id, ok)
	}
}

func (w *Work) noteTotal(t *thresholds, was, is float64) {
	if was == is {
		return
	}
	for _, id := range t.between(was, is) {
		a := w.set.atoms[id]
		w.changed(id, a.relation.holds(was, a.right.fixed), 0)
	}
	w.uncertain(t.others)
}

func (w *Work) noteNumber(n *number, t *thresholds) {
	was, wasUntil := n.get(&w.before)
	is, until := n.get(&w.view)
	switch {
	case shorter(wasUntil, until), math.IsNaN(was) != math.IsNaN(is):
		w.compare(t.atoms)
		w.uncertain(t.others)
	case was != is && !math.IsNaN(was):
		w.compare(t.between(was, is))
		w.uncertain(t.others)
	}
}

// compare notes atoms that look at nothing but the numbers and instants that the profile held before.
func (w *Work) compare(atoms []int32) {
	for _, id := range atoms {
		ok, until := w.set.atoms[id].eval(&w.before)
		w.changed(id, ok, until)
	}
}

// uncertain marks the rules that ask atoms of which nobody knows what they said before.
func (w *Work) uncertain(atoms []int32) {
	for _, id := range atoms {
		leans := &w.set.leans[id]
		for _, list := range [2][]lean{leans.plain, leans.negated} {
			for _, l := range list {
				w.Mark(int(l >> partBits))
			}
		}
	}
}

// changed marks the rules that lean on what the atom said before and no longer says, or says for less long.
func (w *Work) changed(id int32, wasOK bool, wasUntil event.Instant) {
	ok, until := w.memo.eval(int(id), &w.view)
	switch {
	case ok != wasOK:
		w.flipped(id, ok)
	case shorter(wasUntil, until):
		w.flipped(id, !ok)
	}
}

// flipped marks the rules that leaned on the atom's being what it no longer is, or is for less long than it was.
func (w *Work) flipped(id int32, ok bool) {
	marks, other := w.ifIn, w.ifOut
	if ok {
		marks, other = other, marks
	}
	w.mark(marks, w.set.leans[id].plain)
	w.mark(other, w.set.leans[id].negated)
}

// shorter tells whether until ends before another end; zero is never.
func shorter(was, until event.Instant) bool { return until != 0 && (was == 0 || until < was) }

func (w *Work) mark(set []uint64, leans []lean) {
	held := w.members.Held
	for _, l := range leans {
		rank := l >> partBits
		if by := held[rank]; by == everyPart || l&everyPart == everyPart || by == uint8(l&everyPart) {
			set[rank>>6] |= 1 << (rank & 63)
		}
	}
}

// Next is the next rule to ask, by rank, and whether it was true before; -1 when there is none.
func (w *Work) Next() (rank int, in bool) {
	for ; w.word < len(w.ifIn); w.word++ {
		members := w.members.In[w.word]
		marked := w.ifIn[w.word]&members | w.ifOut[w.word]&^members
		if marked == 0 {
			w.ifIn[w.word], w.ifOut[w.word] = 0, 0
			continue
		}
		i := bits.TrailingZeros64(marked)
		bit := uint64(1) << i
		w.ifIn[w.word] &^= bit
		w.ifOut[w.word] &^= bit
		return w.word<<6 | i, members&bit != 0
	}
	return -1, false
}

// Ask answers the rule, as [Rule.Eval] does.
func (w *Work) Ask(rank int) (ok bool, until event.Instant) {
	if f := &w.set.flat[rank]; f.n > 0 {
		ok, until, w.members.Held[rank] = f.eval(w.set, &w.view)
		return ok, until
	}
	return w.set.rules[rank].root.eval(&w.view)
}

// Answered notes that the profile's membership in the rule's segment is another now, so that the rules which ask for
// it are asked too; they all have a higher rank.
func (w *Work) Answered(rank int, before profile.Membership, in bool) {
	if bit := uint64(1) << (rank & 63); in {
		w.members.In[rank>>6] |= bit
	} else {
		w.members.In[rank>>6] &^= bit
	}
	for _, id := range w.set.index.segments[w.set.rules[rank].id] {
		w.memo.drop(int(id))
		w.changed(id, before.In, later(before.Until, w.view.now))
	}
}
