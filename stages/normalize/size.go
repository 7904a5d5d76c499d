package normalize

import (
	"fmt"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/vault"
)

const (
	// shareOfCommit keeps one event small enough for the commit that it leads to, which may hold it several times:
	// as a fact, in a wait, in deliveries.
	shareOfCommit = 8
	// messageFrame is what a message needs beside its data, at most.
	messageFrame = 4096
	// growth is more than an event can be larger than its call: at most 34 bytes with a hash take the place of the 6 of a field
	// like "a":1, with its comma.
	growth = 8
)

// largest is the size of the largest event for a broker's max_payload, in bytes; 0: there is no broker.
func (s *Stage) largest() int {
	if s.config.JetStream == nil {
		return 0
	}
	return int(s.config.JetStream.Conn().MaxPayload()-messageFrame) / shareOfCommit
}

// fits parks a call whose event is too large. It is asked before the call takes its event id and its number: the call may
// come again when the broker takes more, and the record after one that never came would be taken for one that overtook it.
func (o *session) fits(p *prepared) error {
	if o.largest == 0 || len(p.raw.Payload) <= o.largest/growth {
		return nil
	}
	e := o.eventOf(p, "")
	o.split.event(e, &p.call, map[string]vault.Field{})
	if size := sizeOf(e); size > o.largest {
		return pipeline.Park(ReasonTooLarge, fmt.Errorf("the event has %d bytes, %d are allowed: send less in one call, or raise the broker's max_payload", size, o.largest))
	}
	return nil
}

func sizeOf(e *event.Event) int {
	return len(e.Properties) + len(e.Traits) + len(e.Context) + len(e.ID) + len(e.Name) + len(e.User)
}
