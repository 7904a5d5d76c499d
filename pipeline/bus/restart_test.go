package bus_test

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/embedded"
)

// The broker restarts while nothing comes in: the open requests die with it, and the next message arrives all
// the same.
func TestSubscriberOutlivesARestartOfTheBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(port int) *embedded.NATS {
		n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir, Port: port})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	broker := start(0)
	_, text, err := net.SplitHostPort(broker.URL()[len("nats://"):])
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(broker.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"S.*"}}); err != nil {
		t.Fatal(err)
	}
	s := bus.NewSubscriber(js, bus.SubscriberConfig{Stream: "S", Reader: "r", Log: slog.New(slog.DiscardHandler)})
	defer s.Close()
	messages, err := s.Subscribe(context.WithoutCancel(t.Context()), "S.0")
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		timeout := time.After(20 * time.Second)
		for {
			select {
			case m := <-messages:
				got := string(m.Payload)
				m.Ack()
				if got == want {
					return
				}
			case <-timeout:
				t.Fatalf("%q did not come", want)
			}
		}
	}
	if _, err := js.Publish(t.Context(), "S.0", []byte("before")); err != nil {
		t.Fatal(err)
	}
	expect("before")
	broker.Close()
	broker = start(port)
	defer broker.Close()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := js.Publish(t.Context(), "S.0", []byte("after")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection did not come back")
		}
	}
	expect("after")
}
