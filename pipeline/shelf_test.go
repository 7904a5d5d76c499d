package pipeline

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// What lies on a shelf stays as it is while others come, go and are written anew, and no more than half of it is waste.
func TestShelfKeepsWhatLiesOnIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s shelf
		entries := make([]entry, 40)
		want := make([][]byte, len(entries)) // nil: not on the shelf
		for step := range rapid.IntRange(1, 400).Draw(t, "steps") {
			i := rapid.IntRange(0, len(entries)-1).Draw(t, "entry")
			if e := &entries[i]; want[i] == nil {
				want[i] = bytes.Repeat([]byte{byte(step)}, rapid.IntRange(1, 2*pageBytes/7).Draw(t, "size"))
				e.packed = bytes.Clone(want[i])
				s.put(e)
			} else {
				s.take(e)
				if !bytes.Equal(e.packed, want[i]) || e.page != nil {
					t.Fatal("other bytes are taken than were put")
				}
				want[i] = nil
			}
		}
		used := 0
		for i, data := range want {
			if used += len(data); data != nil && !bytes.Equal(entries[i].packed, data) {
				t.Error("bytes changed on the shelf")
			}
		}
		size := 0
		for _, p := range s.pages {
			size += cap(p.bytes)
		}
		if s.used != used || s.size != size {
			t.Errorf("%d of %d bytes used, want %d of %d", s.used, s.size, used, size)
		}
		s.put(&entry{packed: []byte("x")})
		if len(s.pages) > 1 && s.used < s.size/2 {
			t.Errorf("%d of %d bytes used", s.used, s.size)
		}
	})
}
