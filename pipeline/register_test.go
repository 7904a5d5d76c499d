package pipeline

import (
	"testing"

	"pgregory.net/rapid"
)

// However ids come and go, the register finds those that are there, each by its own entry.
func TestRegisterIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegister()
		r.hash = func(id string) uint64 { return uint64(len(id)) } // so that many share one
		want := map[string]*entry{}
		ids := rapid.StringMatching(`[ab]{1,5}`)
		for range rapid.IntRange(0, 600).Draw(t, "steps") {
			id := ids.Draw(t, "id")
			if got := r.find(id); got != want[id] {
				t.Fatalf("%q: %p is found, want %p", id, got, want[id])
			}
			if e := want[id]; e == nil {
				want[id] = r.add(id)
				want[id].revision = 7
			} else {
				r.remove(e)
				delete(want, id)
			}
		}
		for id, e := range want {
			if e.id != id || e.revision != 7 || r.find(id) != e {
				t.Errorf("%q: %+v", id, e)
			}
		}
		if r.count != len(want) {
			t.Errorf("%d entries, want %d", r.count, len(want))
		}
	})
}

// More than one block, and each entry is made use of once.
func TestRegisterGrowsByBlocks(t *testing.T) {
	r := newRegister()
	seen := map[*entry]bool{}
	for i := range 3 * blockEntries {
		e := r.add(string(rune('a' + i)))
		if seen[e] || e.number == 0 {
			t.Fatalf("entry %d again", e.number)
		}
		seen[e] = true
	}
	if len(r.blocks) != 3 {
		t.Errorf("%d blocks, want 3", len(r.blocks))
	}
}
