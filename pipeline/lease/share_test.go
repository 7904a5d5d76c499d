package lease

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// crew draws workers that all serve the same topics.
func crew(t *rapid.T) (topics, workers []string) {
	for p := range rapid.IntRange(1, 256).Draw(t, "partitions") {
		topics = append(topics, fmt.Sprint(p))
	}
	return topics, rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9]{10}`), 1, 16, rapid.ID).Draw(t, "workers")
}

func serving(topics, workers []string) map[string][]string {
	serves := map[string][]string{}
	for _, w := range workers {
		serves[w] = topics
	}
	return serves
}

func TestSharesAreWholeAndEven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		topics, workers := crew(t)
		owners := share("customer", serving(topics, workers))
		if got := slices.Sorted(maps.Keys(owners)); !slices.Equal(got, slices.Sorted(slices.Values(topics))) {
			t.Fatalf("topics %v are shared out, want %v", got, topics)
		}
		count := map[string]int{}
		for _, w := range owners {
			count[w]++
		}
		least := len(topics) / len(workers)
		for _, w := range workers {
			if n := count[w]; n < least || n > least+1 || n > least && len(topics)%len(workers) == 0 {
				t.Fatalf("worker %s has %d of %d topics among %d workers", w, n, len(topics), len(workers))
			}
			delete(count, w)
		}
		if len(count) > 0 {
			t.Fatalf("topics went to %v, who is not there", count)
		}
		shuffled := rapid.Permutation(topics).Draw(t, "order")
		if diff := cmp.Diff(owners, share("customer", serving(shuffled, workers))); diff != "" {
			t.Fatalf("another order gives other shares: %s", diff)
		}
	})
}

// Who comes or goes moves little more than its own share: without the bound it would be exactly that. No single draw
// has a bound, so the sum over many is what must stay small; they are always the same draws.
func TestSharesMoveLittle(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewPCG(1, 2))
	for _, partitions := range []int{8, 32, 51, 256} {
		var topics []string
		for p := range partitions {
			topics = append(topics, fmt.Sprint(p))
		}
		moved, own := 0, 0
		for range 20 {
			var workers []string
			for range 16 {
				workers = append(workers, fmt.Sprintf("%016x", chance.Uint64()))
				before := share("customer", serving(topics, workers))
				after := share("customer", serving(topics, append(slices.Clone(workers), "one-more-worker")))
				for topic, w := range before {
					if after[topic] != w {
						moved++
					}
				}
				own += (len(topics) + len(workers)) / (len(workers) + 1)
			}
		}
		t.Logf("%d partitions: %.2f topics move for each that must", partitions, float64(moved)/float64(own))
		if moved > own*3/2 {
			t.Errorf("%d partitions: %d topics moved where %d were enough", partitions, moved, own)
		}
	}
}

// Workers that serve different topics still leave none without an owner, and get none that they don't serve.
func TestSharesOfDifferentTopics(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"mail", "sms", "push", "letter"}), rapid.ID)
		serves := rapid.MapOf(rapid.StringMatching(`[a-z]{3}`), names).Draw(t, "serves")
		owners := share("deliver", serves)
		for worker, topics := range serves {
			for _, topic := range topics {
				if !slices.Contains(serves[owners[topic]], topic) {
					t.Fatalf("%s, which %s serves, went to %q", topic, worker, owners[topic])
				}
			}
		}
	})
}
