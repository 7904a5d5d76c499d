package pipeline

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// While the broker gives no answer, a reader's node being dead, a chain goes on as before, and does not wait for one long.
func TestThrottleDoesNotWaitForAnAnswerThatDoesNotCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, answers := 0, false
		throttle := newThrottle("EVENTS", 10, "records", slog.New(slog.DiscardHandler), func(ctx context.Context) (uint64, error) {
			asked++
			if answers {
				return 3, nil
			}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		began := time.Now()
		for range 60 { // batches of a minute
			if err := throttle.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if lost := time.Since(began) - time.Minute; lost > 6*throttlePatience {
			t.Errorf("it waited %s of a minute, and asked %d times", lost, asked)
		}
		answers, asked = true, 0
		for range 30 {
			if err := throttle.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if asked < 20 {
			t.Errorf("with answers it asked %d times in half a minute", asked)
		}
	})
}
