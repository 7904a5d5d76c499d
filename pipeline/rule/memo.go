package rule

import (
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// memo keeps the answers of a set's atoms for one step.
type memo struct {
	set     *Set
	step    uint32
	answers []answer // by atom
	traits  []traitValue
}

// answer is what an atom said in a step.
type answer struct {
	step  uint32
	ok    bool
	until event.Instant
}

// forget begins another step.
func (m *memo) forget() {
	if m.step++; m.step == 0 { // after four billion steps
		clear(m.answers)
		clear(m.traits)
		m.step = 1
	}
}

func (m *memo) eval(id int, v *view) (bool, event.Instant) {
	known := &m.answers[id]
	if known.step != m.step {
		known.ok, known.until = m.set.quick[id].eval(m.set, id, v)
		known.step = m.step
	}
	return known.ok, known.until
}

// put keeps an answer that somebody knows already.
func (m *memo) put(id int32, ok bool) { m.answers[id] = answer{step: m.step, ok: ok} }

// trait reads a trait once for all atoms that look at it.
func (m *memo) trait(number int32, p *profile.Profile) *traitValue {
	known := &m.traits[number]
	if known.step != m.step {
		*known = m.set.readTrait(event.ValueOf(p.Traits[m.set.traits[number]].Value))
		known.step = m.step
	}
	return known
}

// drop lets an atom be asked again.
func (m *memo) drop(id int) { m.answers[id].step = m.step - 1 }
