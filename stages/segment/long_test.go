package segment

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Rules of many parts, more than a step keeps close together, follow each change of each part.
func TestRulesOfManyParts(t *testing.T) {
	const parts = 10
	for _, and := range []bool{true, false} {
		var texts []string
		for i := range parts {
			texts = append(texts, fmt.Sprintf(`%s(trait("f%d") == "yes")`, map[bool]string{true: "!"}[i%3 == 0], i))
		}
		s := stage(t, Definition{ID: "long", When: strings.Join(texts, map[bool]string{true: " && ", false: " || "}[and])})
		c, p := chain(1, enrich{}, s), profile.New("u1")
		random := rand.New(rand.NewPCG(1, 2))
		said := make([]bool, parts)
		flips := 0
		for range 2000 {
			i := random.IntN(parts)
			for range 4 * parts { // mostly towards where the rule flips
				if (said[i] != (i%3 == 0)) != and || random.IntN(10*parts) == 0 {
					break
				}
				i = random.IntN(parts)
			}
			said[i] = !said[i]
			run(t, c, p, event.Event{
				Type: event.Identify, Accepted: p.Now + 1, Occurred: p.Now + 1,
				Traits: event.Object(fmt.Sprintf(`{"f%d":%q}`, i, map[bool]string{true: "yes", false: "no"}[said[i]])),
			})
			want := and
			for j := range said {
				if holds := said[j] != (j%3 == 0); holds != and {
					want = !and
				}
			}
			if was := p.In("long"); was != want {
				t.Fatalf("and=%v: in it %v with %v", and, was, said)
			}
			if want {
				flips++
			}
		}
		if flips == 0 || flips == 2000 {
			t.Errorf("and=%v: held %d times, which shows nothing", and, flips)
		}
	}
}
