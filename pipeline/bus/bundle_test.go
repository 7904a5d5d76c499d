package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// Stock middleware works on a bundle as on a message: what fails is tried again, a panic too, and what the metadata says
// is in each record's headers. The records keep their order over batches.
func TestBundleGoesThroughStockMiddleware(t *testing.T) {
	t.Parallel()
	_, js := logStream(t)
	publisher := NewPublisher(js)
	for i := range 40 {
		in := message.NewMessage("", fmt.Append(nil, i))
		middleware.SetCorrelationID("call-1", in)
		if err := publisher.Publish("LOG.in", in); err != nil {
			t.Fatal(err)
		}
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	router.AddMiddleware(middleware.CorrelationID, middleware.Retry{MaxRetries: 2, InitialInterval: time.Millisecond}.Middleware, middleware.Recoverer)
	var tried attempts
	subscriber := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "stock", Batch: 9, Whole: true})
	router.AddHandler("in", "LOG.in", subscriber, "LOG.out", publisher, func(m *message.Message) ([]*message.Message, error) {
		out := NewBundle(0)
		err := From(m.Context()).Each(func(d Delivery, _ any) error {
			switch n := tried.add(string(d.Data)); {
			case string(d.Data) == "7" && n == 1:
				return errors.New("not yet")
			case string(d.Data) == "23" && n == 1:
				panic("a handler's mistake")
			}
			if len(d.Data)%2 == 0 {
				out.Add(Record{ID: "id-" + string(d.Data), Data: d.Data})
			} else {
				out.Add(Record{Subject: "LOG.short", Data: d.Data})
			}
			return nil
		})
		return out.Messages(m), err
	})
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	defer func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			t.Error(err)
		}
	}()
	short, long := read(t, js, "LOG.short", 10), read(t, js, "LOG.out", 30)
	// A batch that was tried again began anew behind the one before: nothing of it had been published.
	if diff := cmp.Diff(counted(40), append(payloads(short), payloads(long)...)); diff != "" {
		t.Error(diff)
	}
	for _, m := range append(short, long...) {
		want := map[string][]string{middleware.CorrelationIDMetadataKey: {"call-1"}}
		if len(m.Data) == 2 {
			want[jetstream.MsgIDHeader] = []string{"id-" + string(m.Data)}
		}
		if diff := cmp.Diff(want, map[string][]string(m.Header)); diff != "" {
			t.Errorf("%s: %s", m.Data, diff)
		}
	}
}

// inSession is a message that came from a session with a wave.
func inSession(t *testing.T, s Session) *message.Message {
	t.Helper()
	m := message.NewMessage("", nil)
	m.SetContext(context.WithValue(t.Context(), handOverKey, &HandOver{Session: s}))
	return m
}

func bundleOf(texts ...string) *Bundle {
	b := new(Bundle)
	for _, text := range texts {
		subject, data, _ := strings.Cut(text, " ")
		b.Add(Record{Subject: subject, Data: []byte(data)})
	}
	return b
}

// One refused record of many, and the input is not acknowledged; the next round is as good as new.
func TestBundleIsConfirmedWithItsSession(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	session := NewWaveSession(newWave(t, conn))
	publisher := NewPublisher(js)
	acknowledged := 0
	commit := func() error {
		return session.Commit(t.Context(), 1, func() error { acknowledged++; return nil })
	}
	if err := publisher.Publish("", bundleOf("LOG.a 1", "nobody.listens 2", "LOG.a 3").Messages(inSession(t, session))...); err != nil {
		t.Fatal(err)
	}
	if err := commit(); !errors.Is(err, jetstream.ErrNoStreamResponse) || acknowledged != 0 {
		t.Errorf("commit: %v, acknowledged %d times; want %v", err, acknowledged, jetstream.ErrNoStreamResponse)
	}
	if err := publisher.Publish("", bundleOf("LOG.b 1", "LOG.b 2").Messages(inSession(t, session))...); err != nil {
		t.Fatal(err)
	}
	if err := commit(); err != nil || acknowledged != 1 {
		t.Errorf("commit: %v, acknowledged %d times; want once", err, acknowledged)
	}
	if diff := cmp.Diff([]string{"1", "2"}, payloads(read(t, js, "LOG.b", 2))); diff != "" {
		t.Error(diff)
	}
}

// What did not come from a session is stored when Publish returns, or its refusal is what Publish returns.
func TestBundleOutsideOfASessionIsConfirmedAtOnce(t *testing.T) {
	t.Parallel()
	_, js := logStream(t)
	publisher, outside := NewPublisher(js), message.NewMessage("", nil)
	if err := publisher.Publish("LOG.a", bundleOf(" 1", "LOG.b 2", " 3").Messages(outside)...); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "LOG")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]uint64{"LOG.a": 2, "LOG.b": 1}, subjects(t, stream)); diff != "" {
		t.Error(diff)
	}
	if err := publisher.Publish("", bundleOf("LOG.a 4", "nobody.listens 5").Messages(outside)...); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("publish: %v, want %v", err, jetstream.ErrNoStreamResponse)
	}
	if none := new(Bundle).Messages(outside); none != nil {
		t.Errorf("an empty bundle made %v", none)
	}
}

// Whatever copies a bundle without its context loses no record silently.
func TestBundleThatLostItsRecordsIsRefused(t *testing.T) {
	t.Parallel()
	_, js := logStream(t)
	publisher := NewPublisher(js)
	bundle := bundleOf("LOG.a 1").Messages(message.NewMessage("", nil))[0]
	if err := publisher.Publish("LOG.a", bundle.Copy()); err == nil || !strings.Contains(err.Error(), "CopyWithContext") {
		t.Errorf("a copy without its context: %v", err)
	}
	if err := publisher.Publish("LOG.a", bundle.CopyWithContext()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"1"}, payloads(read(t, js, "LOG.a", 1))); diff != "" {
		t.Error(diff)
	}
}

// An id of the bundle's own, as some middleware gives to every message, is none of its records': all but one would be
// taken for repeats.
func TestBundlesOwnIDIsNotItsRecords(t *testing.T) {
	t.Parallel()
	_, js := logStream(t)
	m := bundleOf("LOG.a 0", "LOG.a 1", "LOG.a 2").Messages(message.NewMessage("", nil))[0]
	m.Metadata[jetstream.MsgIDHeader] = "one"
	if err := NewPublisher(js).Publish("", m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(counted(3), payloads(read(t, js, "LOG.a", 3))); diff != "" {
		t.Error(diff)
	}
}

// What steers the Publisher is a handler's to say: a producer's headers of those names don't get into the metadata.
func TestHeadersDoNotSteerThePublisher(t *testing.T) {
	t.Parallel()
	d := Delivery{Header: map[string][]string{SubjectKey: {"LOG.b"}, bundleSize: {strconv.Itoa(2)}, "Colour": {"red"}}}
	m := newMessage(&HandOver{Batch: []Delivery{d}})
	if diff := cmp.Diff(message.Metadata{"Colour": "red"}, m.Metadata); diff != "" {
		t.Error(diff)
	}
}
