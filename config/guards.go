package config

import (
	"encoding/json"
	"fmt"
)

// SmallSegments are the segments that have too few members to choose who gets a campaign's mail, each with how many it
// must have.
type SmallSegments map[string]int

// smallSegments is the encoded form; encoding/json writes a map in the order of its keys.
type smallSegments struct {
	Below SmallSegments `json:"below"`
}

// Encode writes them as the object of a control record: the same segments give the same bytes.
func (s SmallSegments) Encode() ([]byte, error) {
	if s == nil {
		s = SmallSegments{}
	}
	data, err := json.Marshal(smallSegments{s})
	if err != nil {
		return nil, fmt.Errorf("encode small segments: %w", err)
	}
	return data, nil
}

// DecodeSmallSegments reads what Encode wrote.
func DecodeSmallSegments(data []byte) (SmallSegments, error) {
	var s smallSegments
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("decode small segments: %w", err)
	}
	return s.Below, nil
}

// Judge says which segments of the workspace are too small, given which were and how many members each has; one that
// isn't in sizes has none. A segment that was too small has to reach a tenth more than its min_size, so that one at its edge doesn't
// change with every customer.
func (s SmallSegments) Judge(sizes map[string]int64, ws *Workspace) SmallSegments {
	small := SmallSegments{}
	for _, d := range ws.Segments {
		least := d.LeastSize()
		if least == 0 {
			continue
		}
		enough := int64(least)
		if _, was := s[d.ID]; was {
			enough += (enough + 9) / 10
		}
		if sizes[d.ID] < enough {
			small[d.ID] = least
		}
	}
	return small
}
