package bus

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
)

func TestMain(m *testing.M) {
	enginetest.MaybeNATSNode()
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for something that is expected to happen.
const patience = 20 * time.Second

func connect(t *testing.T, n *embedded.NATS) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	js := enginetest.Connected(t, n)
	return js.Conn(), js
}

// logStream makes a stream LOG of LOG.* on a server of its own.
func logStream(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, js := connect(t, enginetest.NATS(t))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LOG", Subjects: []string{"LOG.*"}}); err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// fill appends count messages to a subject, whose payloads go on from the given number.
func fill(t *testing.T, conn *nats.Conn, subject string, from, count int) {
	t.Helper()
	wave, err := NewWave(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer wave.Close()
	for i := range count {
		if _, err := wave.Publish(&nats.Msg{Subject: subject, Data: fmt.Append(nil, from+i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := wave.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that another goroutine or the broker brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
