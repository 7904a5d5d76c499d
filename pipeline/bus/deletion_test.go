package bus

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

func subjects(t *testing.T, stream jetstream.Stream) map[string]uint64 {
	t.Helper()
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects
}

// What is committed is deleted, and nothing of the subjects that lie between.
func TestSubscriberDeletesWhatIsCommittedAndOnlyThat(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	stream, err := js.Stream(t.Context(), "LOG")
	if err != nil {
		t.Fatal(err)
	}
	const each = 200
	for i := range each { // interleaved
		for p := range 3 {
			fill(t, conn, "LOG."+strconv.Itoa(p), 1+i, 1)
		}
	}
	// Another reader holds the subject beside it.
	idle := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Delete: true})
	if _, err := idle.Subscribe(t.Context(), "LOG.1"); err != nil { // nobody takes its messages
		t.Fatal(err)
	}
	defer idle.Close()
	var seen notebook
	book := &ledger{}
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 16, Open: book.opener, Delete: true})
	stop := route(t, sub, func(m *message.Message) error {
		if seen.add(m); len(seen.of("LOG.0")) > 100 {
			return errors.New("enough: the rest stays")
		}
		return book.handle(m)
	}, "LOG.0")
	eventually(t, "a part is read", func() bool { return len(seen.of("LOG.0")) > 100 })
	stop()
	left := each - len(book.committed())
	if left == each || left == 0 {
		t.Fatalf("%d of %d messages are left: the test shows nothing", left, each)
	}
	want := map[string]uint64{"LOG.0": uint64(left), "LOG.1": each, "LOG.2": each}
	eventually(t, "what is acknowledged is deleted", func() bool { return subjects(t, stream)["LOG.0"] <= want["LOG.0"] })
	if diff := cmp.Diff(want, subjects(t, stream)); diff != "" {
		t.Error(diff)
	}
	first := book.committed()
	// The next reader goes on right there, without waiting for an acknowledgement's deadline.
	began := time.Now()
	again := &ledger{}
	next := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Open: again.opener, Delete: true})
	stop = route(t, next, again.handle, "LOG.0")
	eventually(t, "the rest is committed", func() bool { return len(again.committed()) >= left })
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to go on", took)
	}
	var all []uint64
	for i := range uint64(each) {
		all = append(all, 3*i+1)
	}
	if diff := cmp.Diff(all, append(first, again.committed()...)); diff != "" {
		t.Error(diff)
	}
	want = map[string]uint64{"LOG.1": each, "LOG.2": each}
	eventually(t, "LOG.0 is empty", func() bool { return subjects(t, stream)["LOG.0"] == 0 })
	if diff := cmp.Diff(want, subjects(t, stream)); diff != "" {
		t.Error(diff)
	}
}
