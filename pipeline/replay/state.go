package replay

import (
	"context"
	"fmt"
	"maps"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// State is a partition after the record at Position: what a replay goes on from.
type State struct {
	Partition int    `cbor:"1,keyasint"`
	Position  uint64 `cbor:"2,keyasint"`
	// Read is the sequence of the log up to which the partition has no record after Position.
	Read     uint64                         `cbor:"3,keyasint"`
	Sources  map[string]uint64              `cbor:"4,keyasint,omitempty"`
	Controls map[string]event.ControlRecord `cbor:"5,keyasint,omitempty"`
	Hash     []byte                         `cbor:"6,keyasint,omitempty"` // the running hash
	// Trail and Commit are the sequences up to which what was recorded is compared.
	Trail  uint64 `cbor:"7,keyasint,omitempty"`
	Commit uint64 `cbor:"8,keyasint,omitempty"`
	// Profiles are the encoded profiles by id.
	Profiles map[string][]byte `cbor:"-"`
}

// newState is a partition at its beginning.
func newState(partition int) *State {
	return &State{Partition: partition, Profiles: map[string][]byte{}}
}

// outcome is what became of one record.
type outcome struct {
	event   event.Event
	data    []byte // its encoded facts; none: it stated nothing
	parked  bool
	unknown bool // it woke a customer of whom nothing is known
}

// machine applies the records of one partition, one after another, by the rules of the customer chain's runner
// (pipeline/record.go, pipeline/failing.go): the same records are news, and of one whose step fails only what makes
// profiles one is taken.
type machine struct {
	load    func(context.Context, pipeline.Controls) (*pipeline.Chain, error)
	commits *pipeline.CommitCodec
	chain   *pipeline.Chain
	state   *State

	// Since the last settle: the profiles at hand, and the records that were applied to them.
	live    map[string]*profile.Profile
	applied []bus.Delivery
	encoded []byte
}

func newMachine(ctx context.Context, c Config, commits *pipeline.CommitCodec, from *State) (*machine, error) {
	m := &machine{load: c.Load, commits: commits, live: map[string]*profile.Profile{}}
	state := *from
	state.Sources, state.Controls = maps.Clone(from.Sources), maps.Clone(from.Controls)
	if state.Sources == nil {
		state.Sources = map[string]uint64{}
	}
	if state.Controls == nil {
		state.Controls = map[string]event.ControlRecord{}
	}
	m.state = &state
	var err error
	if m.chain, err = c.Load(ctx, state.Controls); err != nil {
		return nil, fmt.Errorf("load what is in force: %w", err)
	}
	return m, nil
}

// apply runs one record. Its outcome's data is valid until the next. Where records are missing in the log, one
// that was applied may follow one of them in its source's batch: it is news all the same.
func (m *machine) apply(ctx context.Context, d bus.Delivery, wasApplied bool) (o outcome, err error) {
	m.state.Position = d.Sequence
	if o.event, err = event.Decode(d.Data); err != nil {
		return outcome{parked: true}, nil
	}
	e := &o.event
	highest := m.state.Sources[e.Source.Name]
	switch {
	case e.Source.Name == "" || e.Type != event.Control && e.Profile == "":
		o.parked = true
		return o, nil
	case !e.Source.News(highest) && !(wasApplied && e.Source.Ordinal > highest):
		return o, nil
	case e.Type == event.Control:
		if err := m.control(ctx, e.Control); err != nil {
			return o, err
		}
	default:
		if err := m.step(d, &o); err != nil {
			return o, err
		}
	}
	m.state.Sources[e.Source.Name] = e.Source.Ordinal
	return o, nil
}

func (m *machine) control(ctx context.Context, record *event.ControlRecord) error {
	if record == nil || record.Version <= m.state.Controls[record.Kind].Version {
		return nil
	}
	if !pipeline.Steers(record.Kind) {
		return fmt.Errorf("control record of unknown kind %q (version %d): this program is older than the one that wrote it", record.Kind, record.Version)
	}
	m.settle() // what was applied so far was by the chain before
	next := maps.Clone(m.state.Controls)
	next[record.Kind] = *record
	chain, err := m.load(ctx, next)
	if err != nil {
		return fmt.Errorf("load %s version %d: %w", record.Kind, record.Version, err)
	}
	m.chain, m.state.Controls = chain, next
	return nil
}

// step applies an event to its profile.
func (m *machine) step(d bus.Delivery, o *outcome) error {
	p, err := m.profile(o.event.Profile)
	if err != nil {
		return err
	}
	o.unknown = o.event.Type == event.Wake && p.Applied == 0
	result, err := m.chain.Try(p, &o.event, d.Sequence)
	if err == nil {
		o.data, err = m.commits.AppendFacts(m.encoded[:0], d.Data, &result.Facts)
	}
	if err != nil {
		o.parked, o.data = true, nil
		return m.salvage(d, o)
	}
	if o.data != nil {
		m.encoded = o.data
	}
	m.applied = append(m.applied, d)
	return nil
}

// salvage takes from a record whose step fails what makes profiles one.
func (m *machine) salvage(d bus.Delivery, o *outcome) error {
	if err := m.restore(o.event.Profile); err != nil {
		return err
	}
	p, err := m.profile(o.event.Profile)
	if err != nil {
		return err
	}
	result, err := m.chain.Salvage(p, &o.event, d.Sequence)
	if err != nil {
		return m.restore(o.event.Profile)
	}
	if p.Applied != d.Sequence {
		return nil
	}
	if o.data, err = m.commits.AppendFacts(m.encoded[:0], d.Data, &result.Facts); err != nil {
		return err
	}
	m.settle() // it can't be run again to come here
	return nil
}

// restore brings a half changed profile back to where it was before the record that failed.
func (m *machine) restore(id string) error {
	delete(m.live, id)
	p, err := m.profile(id)
	if err != nil {
		return err
	}
	for _, d := range m.applied {
		e, err := event.Decode(d.Data)
		if err != nil || e.Profile != id {
			continue
		}
		if _, err := m.chain.Try(p, &e, d.Sequence); err != nil {
			return fmt.Errorf("position %d fails when it is run a second time: a stage is not pure: %w", d.Sequence, err)
		}
	}
	return nil
}

func (m *machine) profile(id string) (*profile.Profile, error) {
	if p := m.live[id]; p != nil {
		return p, nil
	}
	p := profile.New(id)
	if encoded := m.state.Profiles[id]; encoded != nil {
		var err error
		if p, err = profile.Decode(encoded); err != nil {
			return nil, fmt.Errorf("profile %s: %w", id, err)
		}
	}
	m.live[id] = p
	return p, nil
}

// settle takes the profiles at hand into the state.
func (m *machine) settle() {
	for id, p := range m.live {
		if p.Applied != 0 {
			m.state.Profiles[id] = profile.Encode(p)
		}
	}
	clear(m.live)
	m.applied = m.applied[:0]
}
