package pipeline

import "bytes"

// pageBytes is the size of a shelf's pages: some hundred profiles.
const pageBytes = 256 << 10

// shelf keeps the bytes of profiles that nobody uses in few large pages: the garbage collector then visits pages, not
// profiles. At least half of its pages is in use; where it would be less, the oldest page is written anew.
type shelf struct {
	pages []*page // the oldest first; the last one is being filled
	size  int     // of all pages
	used  int     // of it, what entries hold
}

// page is filled once and never changed after that; it is gone when nothing points to it.
type page struct {
	bytes   []byte
	entries []*entry // whose bytes were put there; those that have left it meanwhile too
}

// put moves the entry's bytes to the shelf.
func (s *shelf) put(e *entry) {
	s.write(e)
	for s.used < s.size/2 && len(s.pages) > 1 {
		oldest := s.pages[0]
		s.pages[0] = nil
		s.pages, s.size = s.pages[1:], s.size-cap(oldest.bytes)
		for _, left := range oldest.entries {
			if left.page == oldest {
				s.used -= len(left.packed)
				s.write(left)
			}
		}
	}
}

func (s *shelf) write(e *entry) {
	n := len(e.packed)
	if n == 0 {
		return // a new one
	}
	if len(s.pages) == 0 || cap(s.last().bytes)-len(s.last().bytes) < n {
		s.pages = append(s.pages, &page{bytes: make([]byte, 0, max(n, pageBytes))})
		s.size += cap(s.last().bytes)
	}
	p := s.last()
	p.bytes = append(p.bytes, e.packed...)
	p.entries = append(p.entries, e)
	e.packed, e.page = p.bytes[len(p.bytes)-n:len(p.bytes):len(p.bytes)], p
	s.used += n
}

func (s *shelf) last() *page { return s.pages[len(s.pages)-1] }

// take gives the entry bytes of its own again.
func (s *shelf) take(e *entry) {
	s.remove(e)
	e.packed = bytes.Clone(e.packed)
}

// remove forgets the entry's bytes.
func (s *shelf) remove(e *entry) {
	s.used -= len(e.packed)
	e.page = nil
}
