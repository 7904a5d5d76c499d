package rule

import "testing"

// The values of GrowthBook's own tests of its hash.
func TestShares(t *testing.T) {
	for _, k := range []struct {
		salt, id string
		want     int64
	}{{"seed", "a", 505}, {"seed", "b", 2696}} {
		if got := shareOf(k.salt, k.id); got != k.want {
			t.Errorf("share of %q, %q is %d, want %d", k.salt, k.id, got, k.want)
		}
	}
	if shareOf("ab", "c") != shareOf("a", "bc") || shareOf("", "😀") == shareOf("", "😁") {
		t.Error("salt and id are hashed as one text, in UTF-16")
	}
}
