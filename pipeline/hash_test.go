package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline"
)

// However records are cut into commits, the running hash is the same, and each is read back as it was.
func TestRunningHashKnowsNoCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) pipeline.RecordFacts {
			return pipeline.RecordFacts{
				Position: rapid.Uint64().Draw(t, "position"), Data: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "data"),
			}
		}), 1, 30).Draw(t, "records")
		whole := pipeline.NewRunningHash(nil)
		var sum []byte
		for _, r := range records {
			whole.Add(r.Position, r.Data)
		}
		var got []pipeline.RecordFacts
		for rest := records; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			var facts []byte
			for _, r := range rest[:n] {
				facts = pipeline.AppendRecordFacts(facts, r.Position, r.Data)
			}
			rest = rest[n:]
			hash := pipeline.NewRunningHash(sum)
			for r, err := range pipeline.Records(facts) {
				if err != nil {
					t.Fatal(err)
				}
				hash.Add(r.Position, r.Data)
				got = append(got, r)
			}
			sum = hash.Sum()
			if end := rapid.IntRange(0, len(facts)-1).Draw(t, "end"); !brokenOrFewer(facts[:end], n) {
				t.Fatalf("%d of %d bytes are read as whole", end, len(facts))
			}
		}
		if diff := cmp.Diff(records, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(whole.Sum(), sum); diff != "" {
			t.Error(diff)
		}
	})
}

func brokenOrFewer(facts []byte, count int) bool {
	n := 0
	for _, err := range pipeline.Records(facts) {
		if err != nil {
			return true
		}
		n++
	}
	return n < count
}

// Every part of what was stated moves the hash.
func TestRunningHashSeesEveryDifference(t *testing.T) {
	seen := map[string]bool{string(pipeline.NewRunningHash(nil).Sum()): true}
	for _, records := range [][]pipeline.RecordFacts{
		{{Position: 1, Data: []byte("a")}},
		{{Position: 2, Data: []byte("a")}},
		{{Position: 1, Data: []byte("b")}},
		{{Position: 1, Data: []byte("a")}, {Position: 2, Data: []byte("a")}},
		{{Position: 2, Data: []byte("a")}, {Position: 1, Data: []byte("a")}},
	} {
		hash := pipeline.NewRunningHash(nil)
		for _, r := range records {
			hash.Add(r.Position, r.Data)
		}
		if seen[string(hash.Sum())] {
			t.Errorf("%v hashes like another", records)
		}
		seen[string(hash.Sum())] = true
	}
}
