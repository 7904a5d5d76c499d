package pipeline_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"attune/pipeline/embedded/enginetest"
)

func TestMain(m *testing.M) {
	enginetest.MaybeNATSNode()
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for something that is expected to happen.
const patience = 20 * time.Second

// eventually waits for a condition that another goroutine or the broker brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
