package bus

import (
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// What a handler publishes is confirmed before its input is acknowledged; outside of a session, at once.
func TestPublisherAddsToTheSessionsWave(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OUT", Subjects: []string{"OUT.*"}}); err != nil {
		t.Fatal(err)
	}
	fill(t, conn, "LOG.0", 1, 40)
	publisher := NewPublisher(js)
	defer publisher.Close()
	var mu sync.Mutex
	most := 0
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 40})
	stop := route(t, sub, func(m *message.Message) error {
		out := message.NewMessage("", m.Payload)
		out.SetContext(m.Context())
		out.Metadata[SubjectKey] = "OUT.b"
		out.Metadata["Colour"] = "red"
		if err := publisher.Publish("OUT.a", out); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		most = max(most, From(m.Context()).Session.(*WaveSession).Wave().Pending())
		return nil
	}, "LOG.0")
	consumer, err := js.Consumer(t.Context(), "LOG", "reader-0")
	for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); {
		consumer, err = js.Consumer(t.Context(), "LOG", "reader-0")
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the input is acknowledged", func() bool {
		info, err := consumer.Info(t.Context())
		return err == nil && info.AckFloor.Stream == 40
	})
	stop()
	if most < 2 {
		t.Errorf("at most %d outputs were unconfirmed at a time, want a wave of them", most)
	}
	out, err := js.Stream(t.Context(), "OUT")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]uint64{"OUT.b": 40}, subjects(t, out)); diff != "" {
		t.Error(diff)
	}
	last, err := out.GetLastMsgForSubject(t.Context(), "OUT.b")
	if err != nil || string(last.Data) != "40" || last.Header.Get("Colour") != "red" || last.Header.Get(SubjectKey) != "" {
		t.Errorf("last output %+v, %v", last, err)
	}
	if err := publisher.Publish("OUT.c", message.NewMessage("", []byte("1"))); err != nil {
		t.Fatal(err)
	}
	if got := subjects(t, out)["OUT.c"]; got != 1 {
		t.Errorf("Publish returned with %d messages stored, want 1", got)
	}
	if err := publisher.Publish("nobody.listens", message.NewMessage("", nil)); err == nil {
		t.Error("a message that no stream takes was confirmed")
	}
}
