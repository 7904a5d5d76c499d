package profile

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"attune/pipeline/event"
)

// Next is what staged definitions make of the customer, beside those in force: their memberships and what their rules
// look back at. When the definitions come into force it takes the place of what the profile held.
type Next struct {
	// Version is the staged version.
	Version uint64
	// Since is the log position from which on everything that happens is kept here too; what happened before it has to
	// be read back, and is up to the position Read.
	Since uint64
	Read  uint64
	// Filled tells that all of it is here: the segments are judged from then on.
	Filled bool
	// Losers are the profiles that went on in this one whose part of the log is read back too, by id. For any other one,
	// all that lies in its part was before Since, and nothing of it has been read.
	Losers []Part
	// Definitions is Version once the segments are judged; zero: all are to be judged anew.
	Definitions uint64

	Windows     map[uint64][]event.Instant
	Kept        map[uint64]*Kept
	Segments    map[string]Membership
	SegmentsDue event.Instant
	Members     *Members // never stored
}

// Part is what is known of a merged profile's part of the log: what is kept of it from the position Since on, and up to the
// position Read. A zero Since is never.
type Part struct {
	ID    string
	Since uint64
	Read  uint64
}

// Part is a merged profile's; zero: nothing was said of it.
func (n *Next) Part(id string) Part {
	if i, ok := n.part(id); ok {
		return n.Losers[i]
	}
	return Part{ID: id}
}

// SetPart replaces what is known of a merged profile's part.
func (n *Next) SetPart(part Part) {
	i, ok := n.part(part.ID)
	if ok {
		n.Losers[i] = part
	} else {
		n.Losers = slices.Insert(n.Losers, i, part)
	}
}

func (n *Next) part(id string) (int, bool) {
	return slices.BinarySearchFunc(n.Losers, id, func(p Part, id string) int { return strings.Compare(p.ID, id) })
}

// Lay puts what is staged in the place of what is in force, in a shallow copy of the profile: stages that are given it
// judge the customer by it. Take takes back what they made of it.
func (n *Next) Lay(p *Profile) *Profile {
	q := *p
	q.Next = nil
	q.Windows, q.Kept, q.Segments, q.SegmentsDue, q.Members, q.Definitions = n.Windows, n.Kept, n.Segments, n.SegmentsDue, n.Members, n.Definitions
	return &q
}

// Take keeps what a copy that Lay made has become.
func (n *Next) Take(q *Profile) {
	n.Windows, n.Kept, n.Segments, n.SegmentsDue, n.Members, n.Definitions = q.Windows, q.Kept, q.Segments, q.SegmentsDue, q.Members, q.Definitions
}

// Due is when a membership may change by itself; zero: never, or it isn't known yet.
func (n *Next) Due() event.Instant {
	if n == nil || !n.Filled {
		return 0
	}
	return n.SegmentsDue
}

// mergeNext has what both customers did, as far as it is known. All is judged anew.
func mergeNext(w, l *Profile) *Next {
	n := w.Next
	if n == nil {
		return nil // its own turn is still to come
	}
	sum := *n
	sum.Definitions, sum.Members = 0, nil
	if l.Next != nil && l.Next.Version == n.Version {
		sum.Windows, sum.Kept = mergeWindows(n.Windows, l.Next.Windows), mergeKept(n.Kept, l.Next.Kept)
		sum.Segments = mergeSegments(n.Segments, l.Next.Segments)
		sum.Losers = slices.Clone(n.Losers)
		for _, part := range append(slices.Clone(l.Next.Losers), Part{ID: l.ID, Since: l.Next.Since, Read: l.Next.Read}) {
			sum.SetPart(part)
		}
	} else {
		sum.Windows, sum.Kept = mergeWindows(n.Windows, l.Windows), mergeKept(n.Kept, l.Kept)
	}
	if sum.Filled {
		sum.SegmentsDue = w.Now
	}
	return &sum
}

func appendNext(b []byte, n *Next) []byte {
	b = appendUint(b, 1, n.Version)
	b = appendUint(b, 2, n.Since)
	b = appendUint(b, 3, n.Read)
	b = appendBool(b, 4, n.Filled)
	b = appendUint(b, 5, n.Definitions)
	var inner [256]byte
	var ids [32]uint64
	for _, id := range sortedKeys(ids[:0], n.Windows) {
		b = appendEntry(b, 6, appendTimes(protowire.AppendFixed64(inner[:0], id), n.Windows[id]))
	}
	for _, id := range sortedKeys(ids[:0], n.Kept) {
		b = appendEntry(b, 7, appendKept(inner[:0], id, n.Kept[id]))
	}
	var names [32]string
	for _, name := range sortedKeys(names[:0], n.Segments) {
		b = appendEntry(b, 8, appendMembership(inner[:0], name, n.Segments[name]))
	}
	b = appendInt(b, 9, n.SegmentsDue)
	for i := range n.Losers {
		part := &n.Losers[i]
		b = appendEntry(b, 10, appendUint(appendUint(appendText(inner[:0], 1, part.ID), 2, part.Since), 3, part.Read))
	}
	return b
}

func (p *Part) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		p.ID = w.text()
	case 2:
		p.Since = w.number
	case 3:
		p.Read = w.number
	}
	return nil
}

func (n *Next) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		n.Version = w.number
	case 2:
		n.Since = w.number
	case 3:
		n.Read = w.number
	case 4:
		n.Filled = w.bool()
	case 5:
		n.Definitions = w.number
	case 6:
		return readWindow(&n.Windows, w.part)
	case 7:
		return readKept(&n.Kept, w.part)
	case 8:
		return readEntry(&n.Segments, w.part, (*Membership).field)
	case 9:
		n.SegmentsDue = w.instant()
	case 10:
		return readOne(&n.Losers, w.part, (*Part).field)
	}
	return nil
}
