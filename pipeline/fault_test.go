package pipeline_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"attune/pipeline"
)

// A worker dies at every point, in every way, and its successor comes to what the sequential oracle says. Before it
// there were two others, so that it finds profiles in the bucket, newer ones in the tail, and conflicts.
func TestCustomerDiesAtEveryPoint(t *testing.T) {
	t.Parallel()
	r := newRig(t, 256)
	number := 0
	for at := range pipeline.OutputsSent {
		for how := range deaths {
			number++
			mine := number - 1
			t.Run(fmt.Sprintf("%s/%s", at, how), func(t *testing.T) {
				t.Parallel()
				w := r.world(t, mine)
				f := w.fate(at, 1, how, nil)
				f.certain = true
				differences := w.ordeal(f)
				if !f.happened() {
					t.Errorf("%s was never reached", at)
				}
				for _, difference := range differences {
					t.Error(difference)
				}
			})
		}
	}
}

// ordeal lets three workers have the partition one after another. The first folds all, the second leaves its commits
// unfolded, the third has its fate; a fourth takes over. It returns where they all differ from the oracle.
func (w *world) ordeal(f *fate) []string {
	w.t.Helper()
	w.events(12)
	stop := w.customer(nil)
	w.reach(w.end)
	stop()
	w.events(12)
	second := w.fate(0, 0, cut, nil)
	stop = w.customer(func(c *pipeline.CustomerConfig) {
		c.JetStream, c.FoldEvery, c.CachedProfiles = w.through(second.js), time.Hour, 1000
	})
	w.reach(w.end)
	second.wire.cut()
	stop()
	w.events(6)
	w.eventOf(w.destination+"-new", "view") // whom nobody holds in memory
	w.oddities()
	w.events(8)
	w.takeOver(f, w.victim(f))
	return w.settle()
}

// Any sequence of points and deaths, one worker after another.
func TestCustomerDiesAgainAndAgain(t *testing.T) {
	t.Parallel()
	const runs = 24
	r := newRig(t, runs)
	for seed := range uint64(runs) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			chance := rand.New(rand.NewPCG(seed, 3))
			w := r.world(t, int(seed))
			for range 3 + chance.IntN(6) {
				w.events(5 + chance.IntN(40))
				if w.ordinal > 40 && chance.IntN(4) == 0 {
					w.oddities()
				}
				f := w.fate(pipeline.Point(chance.IntN(int(pipeline.OutputsSent))), 1+chance.IntN(4), death(chance.IntN(int(deaths))), nil)
				t.Logf("%s, visit %d: %s", f.at, f.nth, f.how)
				bury := w.victim(f)
				if f.happened() && (f.how == stopped || f.how == left || f.how == slept) {
					w.takeOver(f, bury)
				}
			}
			for _, difference := range w.settle() {
				t.Error(difference)
			}
		})
	}
}
