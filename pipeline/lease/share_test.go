package lease

import (
	"fmt"
	"maps"
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

// Who comes or goes moves little more than its own share: without the bound it would be exactly that.
func TestSharesMoveLittle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		topics, workers := crew(t)
		before := share("customer", serving(topics, workers))
		after := share("customer", serving(topics, append(workers, "one-more-worker")))
		moved := 0
		for topic, w := range before {
			if after[topic] != w {
				moved++
			}
		}
		own := (len(topics) + len(workers)) / (len(workers) + 1)
		if most := 2*own + 4; moved > most {
			t.Fatalf("%d of %d topics moved when %d workers became one more, want at most %d", moved, len(topics), len(workers), most)
		}
	})
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
