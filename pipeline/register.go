package pipeline

import "hash/maphash"

// blockEntries is how many entries are made at once.
const blockEntries = 256

// register has the entries of a cache, by the ids of their profiles. Entries come in blocks, and are found by number: a
// million pointers in a map, each to an object somewhere, are what a garbage collection takes longest for.
type register struct {
	hash   func(id string) uint64
	first  map[uint64]uint32 // by the hash of an id, the number of an entry; others of the same hash are its twins
	blocks []*[blockEntries]entry
	unused uint32 // and its twins; 0: none
	count  int
}

func newRegister() register {
	seed := maphash.MakeSeed()
	return register{hash: func(id string) uint64 { return maphash.String(seed, id) }, first: map[uint64]uint32{}}
}

// at is the entry of a number; they begin with 1.
func (r *register) at(number uint32) *entry {
	return &r.blocks[(number-1)/blockEntries][(number-1)%blockEntries]
}

// find is nil where there is none.
func (r *register) find(id string) *entry {
	for n := r.first[r.hash(id)]; n != 0; n = r.at(n).twin {
		if e := r.at(n); e.id == id {
			return e
		}
	}
	return nil
}

// add makes an entry for an id that has none.
func (r *register) add(id string) *entry {
	if r.unused == 0 {
		r.blocks = append(r.blocks, new([blockEntries]entry))
		for n := uint32(len(r.blocks) * blockEntries); n > uint32((len(r.blocks)-1)*blockEntries); n-- {
			r.at(n).number, r.at(n).twin = n, r.unused
			r.unused = n
		}
	}
	e := r.at(r.unused)
	hash := r.hash(id)
	r.unused = e.twin
	e.id, e.twin = id, r.first[hash]
	r.first[hash] = e.number
	r.count++
	return e
}

// remove forgets an entry: it must not be used any more.
func (r *register) remove(e *entry) {
	hash := r.hash(e.id)
	switch first := r.first[hash]; {
	case first != e.number:
		before := r.at(first)
		for before.twin != e.number {
			before = r.at(before.twin)
		}
		before.twin = e.twin
	case e.twin != 0:
		r.first[hash] = e.twin
	default:
		delete(r.first, hash)
	}
	*e = entry{number: e.number, twin: r.unused}
	r.unused = e.number
	r.count--
}
