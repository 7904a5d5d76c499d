package profile

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"attune/pipeline/event"
)

// Decode reads a profile that any earlier version wrote.
func Decode(data []byte) (*Profile, error) {
	p := new(Profile)
	// One copy holds every text of the profile: most are short, and one allocation each was most of the cost.
	if err := readFields(reader{data[:len(data):len(data)], string(data)}, p.field); err != nil {
		return nil, fmt.Errorf("decode profile: %w", err)
	}
	if p.ID == "" {
		return nil, errNoID
	}
	if p.SegmentsDue == 0 { // written before there was one
		p.SegmentsDue = p.EarliestUntil()
	}
	return p, nil
}

// errNoID is returned for bytes that are no profile's: each has an id.
var errNoID = errors.New("decode profile: it has no id")

func (p *Profile) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		p.ID = w.text()
	case 2:
		p.Now = w.instant()
	case 3:
		p.Applied = w.number
	case 4:
		p.First = w.instant()
	case 5:
		p.Last = w.instant()
	case 6:
		return readEntry(&p.Traits, w.part, (*Trait).field)
	case 7:
		return readEntry(&p.Consents, w.part, (*Consent).field)
	case 8:
		return readOne(&p.Activities, w.part, (*Activity).field)
	case 9:
		return readFields(w.part, p.Orders.field)
	case 10:
		return readFields(w.part, p.Scores.field)
	case 11:
		return readWindow(&p.Windows, w.part)
	case 12:
		return readEntry(&p.Segments, w.part, (*Membership).field)
	case 13:
		p.Definitions = w.number
	case 14:
		return readOne(&p.Waits, w.part, (*Wait).field)
	case 15:
		return readOne(&p.Sends, w.part, (*Send).field)
	case 16:
		p.Armed = w.instant()
	case 17:
		return p.readLeaning(w.part)
	case 18:
		return readViewed(&p.Viewed, w.part)
	case 19:
		return readOne(&p.Cart, w.part, (*CartChange).field)
	case 20:
		return readFields(w.part, p.Zone.field)
	case 21:
		return readFields(w.part, p.Standing.field)
	case 40:
		return readKept(&p.Kept, w.part)
	case 41:
		p.SegmentsDue = w.instant()
	case 42:
		p.Next = new(Next)
		return readFields(w.part, p.Next.field)
	case 50:
		p.Into = w.text()
	case 51:
		return readOne(&p.Awaits, w.part, (*Await).field)
	case 52:
		return readOne(&p.Merged, w.part, (*Merged).field)
	case 53:
		p.Left = w.number
	case 60:
		return readFields(w.part, p.Propensities.field)
	case 61:
		return readViewed(&p.Bought, w.part)
	}
	return nil
}

// readOne takes one entry of a list.
func readOne[V any](into *[]V, r reader, take func(*V, protowire.Number, wire) error) error {
	var value V
	if *into == nil {
		*into = make([]V, 0, 4)
	}
	*into = append(*into, value)
	last := &(*into)[len(*into)-1]
	return readFields(r, func(field protowire.Number, w wire) error { return take(last, field, w) })
}

// put keeps an entry of a map that may not be made yet.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

// readEntry takes one entry of a map by name: the name is its field 1, the value's own follow.
func readEntry[V any](into *map[string]V, r reader, take func(*V, protowire.Number, wire) error) error {
	var name string
	var value V
	err := readFields(r, func(field protowire.Number, w wire) error {
		if field == 1 {
			name = w.text()
			return nil
		}
		return take(&value, field, w)
	})
	put(into, name, value)
	return err
}

func (t *Trait) field(field protowire.Number, w wire) error {
	switch field {
	case 2:
		t.Value = w.object()
	case 3:
		t.At = w.instant()
	}
	return nil
}

func (c *Consent) field(field protowire.Number, w wire) error {
	switch field {
	case 2:
		c.Granted = w.bool()
	case 3:
		c.At = w.instant()
	}
	return nil
}

func (a *Activity) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		a.Name = w.text()
	case 2:
		a.Count = w.number
	case 3:
		a.Sum = w.money()
	case 4:
		a.First = w.instant()
		a.Last = a.First
	case 5:
		a.Last = a.First + w.instant()
	}
	return nil
}

func readWindow(into *map[uint64][]event.Instant, r reader) error {
	id, n := protowire.ConsumeFixed64(r.data)
	if n < 0 {
		return protowire.ParseError(n)
	}
	var times []event.Instant
	var at int64
	err := readDistances(r.skip(n), func(distance int64) {
		at += distance
		times = append(times, event.Instant(at))
	})
	put(into, id, times)
	return err
}

func (m *Membership) field(field protowire.Number, w wire) error {
	switch field {
	case 2:
		m.In = w.bool()
	case 3:
		m.Since = w.instant()
	case 4:
		m.Until = w.instant()
	}
	return nil
}

func (o *Orders) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		o.Count = w.number
	case 2:
		o.Refunds = w.number
	case 3:
		o.Revenue = w.money()
	case 4:
		o.Refunded = w.money()
	case 5:
		o.First = w.instant()
	case 6:
		o.Last = w.instant()
	case 7:
		return readDays(&o.Days, w.part)
	case 8:
		return readOne(&o.Currencies, w.part, (*Currency).field)
	case 9:
		return readDays(&o.RefundDays, w.part)
	}
	return nil
}

func (c *Currency) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		c.Code = w.text()
	case 2:
		c.Orders = w.number
	case 3:
		c.Refunds = w.number
	case 4:
		c.Revenue = w.money()
	case 5:
		c.Refunded = w.money()
	}
	return nil
}

// errHalfDay is returned for a day without its amount.
var errHalfDay = errors.New("a purchase day has no amount")

func readDays(into *[]Day, r reader) error {
	var day int64
	isDay := true
	err := readDistances(r, func(v int64) {
		if isDay {
			day += v
		} else {
			*into = append(*into, Day{Day: int32(day), Spent: event.Money(v)})
		}
		isDay = !isDay
	})
	if err == nil && !isDay {
		return errHalfDay
	}
	return err
}

// readLeaning takes one dimension over, unless only a newer program knows it.
func (p *Profile) readLeaning(r reader) error {
	var dimension uint64
	var l Leaning
	err := readFields(r, func(field protowire.Number, w wire) error {
		switch field {
		case 1:
			dimension = w.number
		case 2:
			l.Rest = w.decayed()
		case 3:
			return l.readWeights(w.part)
		}
		return nil
	})
	if dimension < uint64(dimensions) {
		p.Leanings[dimension] = l
	}
	return err
}

func (l *Leaning) readWeights(r reader) error {
	l.Weights = make([]Weight, 0, 1+len(r.data)/16) // names of seven letters
	for len(r.data) > 0 {
		name, rest, err := r.part()
		if err != nil {
			return err
		}
		sum, n := protowire.ConsumeFixed64(rest.data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		l.Weights = append(l.Weights, Weight{name.text(), Decayed(math.Float64frombits(sum))})
		r = rest.skip(n)
	}
	return nil
}

func readViewed(into *[]View, r reader) error {
	var at int64
	list := make([]View, 0, 1+len(r.data)/8)
	for len(r.data) > 0 {
		product, rest, err := r.part()
		if err != nil {
			return err
		}
		distance, rest, err := rest.signed()
		if err != nil {
			return err
		}
		at += distance
		list = append(list, View{product.text(), event.Instant(at)})
		r = rest
	}
	*into = list
	return nil
}

func (c *CartChange) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		c.At = w.instant()
	case 2:
		c.Product = w.text()
	case 3:
		c.Quantity = protowire.DecodeZigZag(w.number)
	case 4:
		c.Price = w.money()
	}
	return nil
}

func (z *Zone) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		z.Name = w.text()
	case 2:
		z.At = w.instant()
	}
	return nil
}

func (s *Standing) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		s.Lifecycle = Lifecycle(min(w.number, math.MaxUint8))
	case 2:
		s.Tier = w.text()
	case 3:
		s.Until = w.instant()
	}
	return nil
}

// readDistances hands each of a list of signed numbers on.
func readDistances(r reader, take func(int64)) error {
	for len(r.data) > 0 {
		v, rest, err := r.signed()
		if err != nil {
			return err
		}
		take(v)
		r = rest
	}
	return nil
}

func (s *Scores) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		s.CLV = w.money()
	case 2:
		s.Alive = math.Float64frombits(w.number)
	case 3:
		s.Scored = w.instant()
	case 4:
		s.Next = w.instant()
	case 5:
		s.Confidence = math.Float64frombits(w.number)
	}
	return nil
}

func (s *Propensities) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		s.At = w.instant()
	case 2:
		s.Next = w.instant()
	case 3:
		return readOne(&s.Scores, w.part, (*Propensity).field)
	}
	return nil
}

func (s *Propensity) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		s.Name = w.text()
	case 2:
		s.Value = math.Float64frombits(w.number)
	case 3:
		s.Confidence = math.Float64frombits(w.number)
	}
	return nil
}

func (t *Wait) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		t.Campaign = w.text()
	case 2:
		t.Key = w.text()
	case 3:
		t.Due = w.instant()
	case 4:
		t.Cause = w.text()
	case 5:
		t.Position = w.number
	case 6:
		t.Properties = w.object()
	case 7:
		t.Name = w.text()
	case 8:
		t.Occurred = w.instant()
	case 9:
		t.Trace = w.text()
	case 50:
		t.Held = w.bool()
	case 51:
		t.Since = w.instant()
	}
	return nil
}

func (s *Send) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		s.Decision = w.text()
	case 2:
		s.Campaign = w.text()
	case 3:
		s.At = w.instant()
	}
	return nil
}
