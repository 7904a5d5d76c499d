package profile_test

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func foretold() *profile.Profile {
	return &profile.Profile{ID: "p", Now: 100, Propensities: profile.Propensities{
		At: 90, Next: 200, Scores: []profile.Propensity{{Name: "purchase", Value: 0.25, Confidence: 0.5}, {Name: "return"}},
	}}
}

func TestPropensity(t *testing.T) {
	type answer struct {
		Score     profile.Propensity
		At, Until event.Instant
		OK        bool
	}
	for _, c := range []struct {
		name string
		now  event.Instant
		want answer
	}{
		{"purchase", 100, answer{profile.Propensity{Name: "purchase", Value: 0.25, Confidence: 0.5}, 90, 200, true}},
		{"purchase", 200, answer{profile.Propensity{Name: "purchase", Value: 0.25, Confidence: 0.5}, 90, 0, true}}, // it is due
		{"return", 100, answer{profile.Propensity{Name: "return"}, 90, 200, true}},
		{"renewal", 100, answer{}},
	} {
		var got answer
		got.Score, got.At, got.Until, got.OK = foretold().Propensity(c.name, c.now)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s at %d (-want +got):\n%s", c.name, c.now, diff)
		}
	}
}

// Who was merged is scored anew at once: neither's score is theirs.
func TestMergeAsksForPropensitiesAnew(t *testing.T) {
	for _, c := range []struct{ winner, loser *profile.Profile }{{foretold(), profile.New("q")}, {profile.New("q"), foretold()}} {
		profile.Merge(c.winner, c.loser)
		if diff := cmp.Diff(profile.Propensities{Next: 100}, c.winner.Propensities); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	w := profile.New("q")
	if profile.Merge(w, profile.New("p")); w.Propensities.Next != 0 {
		t.Error("who was never scored is due")
	}
}

func TestPropensitiesFormatIsStable(t *testing.T) {
	const want = "0a0170" + "10c801" + // id, now
		"e2032e" + "08b401" + "109003" + "1a1c" + "0a087075726368617365" + "11000000000000d03f" + "19000000000000e03f" +
		"1a08" + "0a0672657475726e"
	if got := hex.EncodeToString(profile.Encode(foretold())); got != want {
		t.Errorf("stored bytes changed; profiles of earlier versions must stay readable\n got %s\nwant %s", got, want)
	}
}
