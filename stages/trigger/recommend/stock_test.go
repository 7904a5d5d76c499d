package recommend_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/stages/trigger/recommend"
)

// A product is out of stock where the last word was that it is, whatever else was said, and the object says the same.
func TestOutOfStockIsWhatWasSaidLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var out recommend.OutOfStock
		last := map[string]bool{}
		id := rapid.StringMatching(`[a-d]{1,2}`)
		for range rapid.IntRange(0, 10).Draw(t, "changes") {
			ids := rapid.SliceOfN(id, 0, 4).Draw(t, "ids")
			gone := rapid.Bool().Draw(t, "gone")
			before := slices.Clone(out)
			next := out.Without(ids...)
			if gone {
				next = out.With(ids...)
			}
			if !slices.Equal(before, out) {
				t.Fatalf("%v became %v", before, out)
			}
			out = next
			for _, id := range ids {
				last[id] = gone
			}
		}
		data, err := out.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if out, err = recommend.DecodeOutOfStock(data); err != nil {
			t.Fatal(err)
		}
		for id, gone := range last {
			if out.Has(id) != gone {
				t.Fatalf("%s is out: %v, want %v", id, out.Has(id), gone)
			}
		}
	})
}

func TestOutOfStockRefuses(t *testing.T) {
	long := make(recommend.OutOfStock, 40_000)
	for i := range long {
		long[i] = strings.Repeat("x", 120) + string(rune('a'+i/1600)) + string(rune('0'+i/40%40)) + string(rune('0'+i%40))
	}
	for name, c := range map[string]struct {
		out  recommend.OutOfStock
		says string
	}{
		"none":         {nil, ""},
		"longest":      {recommend.OutOfStock{strings.Repeat("x", 128)}, ""},
		"too long":     {recommend.OutOfStock{strings.Repeat("x", 129)}, "id of 129 bytes: at most 128"},
		"empty":        {recommend.OutOfStock{" "}, "is empty"},
		"spaces":       {recommend.OutOfStock{"a "}, "spaces around it"},
		"two lines":    {recommend.OutOfStock{"a\nb"}, "a line's end"},
		"no text":      {recommend.OutOfStock{"\xff"}, "is not UTF-8"},
		"twice":        {recommend.OutOfStock{"a", "a"}, "stands there twice"},
		"too large":    {long, "4920000 bytes together: at most 4194304"},
		"out of order": {recommend.OutOfStock{"b", "a"}, "not in the order"},
	} {
		_, err := c.out.Encode()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	for _, data := range []string{"", "{}", "no gzip"} {
		if _, err := recommend.DecodeOutOfStock([]byte(data)); err == nil {
			t.Errorf("%q was read", data)
		}
	}
	data, err := recommend.OutOfStock{}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := recommend.DecodeOutOfStock(data); err != nil || !cmp.Equal(recommend.OutOfStock{}, out) {
		t.Errorf("none: %v, %v", out, err)
	}
}
