package rule

import "attune/pipeline/event"

// memo keeps the answers of shared atoms for one step.
type memo struct {
	step    uint32
	answers []answer // by atom
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
		m.step = 1
	}
}

func (m *memo) eval(id int, a *atom, v *view) (bool, event.Instant) {
	known := &m.answers[id]
	if known.step != m.step {
		known.ok, known.until = a.eval(v)
		known.step = m.step
	}
	return known.ok, known.until
}

// drop lets an atom be asked again.
func (m *memo) drop(id int) { m.answers[id].step = m.step - 1 }
