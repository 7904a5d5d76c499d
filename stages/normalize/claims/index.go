package claims

import "time"

// place is where a claim lies in the log: the message's sequence and the claim's number in it. 0 is none.
type place uint64

const (
	numberBits = 12
	// maxClaims is how many claims one message holds at most.
	maxClaims = 1 << numberBits
)

func placeOf(sequence uint64, number int) place { return place(sequence<<numberBits | uint64(number)) }

func (p place) sequence() uint64 { return uint64(p) >> numberBits }
func (p place) number() int      { return int(p & (maxClaims - 1)) }

// generations is how many tables share the age: the oldest is dropped as a whole.
const generations = 8

// index is the first claim of each id. It is not safe for concurrent use.
type index struct {
	age    time.Duration
	tables []*generation // oldest first
}

// generation is the claims of a stretch of time.
type generation struct {
	table
	first, last time.Time
}

// find returns the place of an id's first claim.
func (x *index) find(k Key) place {
	for i := len(x.tables) - 1; i >= 0; i-- { // repeats are of what is recent, mostly
		if p := x.tables[i].find(k); p != 0 {
			return p
		}
	}
	return 0
}

// add notes a claim that was stored at an instant, unless the id has one. What is too old by then is forgotten.
func (x *index) add(k Key, p place, stored time.Time) {
	now := x.at(stored)
	if x.find(k) == 0 {
		now.add(k, p)
	}
}

// at is the generation of an instant, the newest one.
func (x *index) at(stored time.Time) *generation {
	for len(x.tables) > 0 && stored.Sub(x.tables[0].last) > x.age {
		x.tables = x.tables[1:]
	}
	if n := len(x.tables); n == 0 || stored.Sub(x.tables[n-1].first) >= x.age/generations {
		x.tables = append(x.tables, &generation{first: stored})
	}
	now := x.tables[len(x.tables)-1]
	now.last = stored
	return now
}

// len is the number of ids.
func (x *index) len() (n int) {
	for _, g := range x.tables {
		n += g.len()
	}
	return n
}

// table is a hash table with open addressing. It is many small ones, by the first bits of the key, so that none takes long
// to grow.
type table struct{ parts [256]part }

type part struct {
	slots []slot // their number is a power of two
	used  int
}

type slot struct {
	key   Key
	place place
}

func (t *table) len() (n int) {
	for i := range t.parts {
		n += t.parts[i].used
	}
	return n
}

func (t *table) find(k Key) place {
	p := &t.parts[k.high>>56]
	if p.used == 0 {
		return 0
	}
	return p.slot(k).place
}

// add notes the place of a key that is not in the table.
func (t *table) add(k Key, at place) {
	p := &t.parts[k.high>>56]
	if 4*(p.used+1) > 3*len(p.slots) {
		p.grow()
	}
	*p.slot(k) = slot{k, at}
	p.used++
}

// slot is where the key is, or the free one where it goes.
func (p *part) slot(k Key) *slot {
	mask := uint64(len(p.slots) - 1)
	for i := k.low & mask; ; i = (i + 1) & mask {
		if s := &p.slots[i]; s.place == 0 || s.key == k {
			return s
		}
	}
}

func (p *part) grow() {
	old := p.slots
	p.slots = make([]slot, max(2*len(old), 8))
	for _, s := range old {
		if s.place != 0 {
			*p.slot(s.key) = s
		}
	}
}
