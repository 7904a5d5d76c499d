package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/embedded/enginetest"
)

func openPuller(t *testing.T, js jetstream.JetStream, from uint64, batch int) *Puller {
	t.Helper()
	p, err := OpenConsumer(t.Context(), js, Consumer{Stream: "LOG", Subject: "LOG.0", Durable: "reader-0", From: from, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// pull reads until it has the wanted number of messages, whose payloads go on from the given number.
func pull(t *testing.T, p *Puller, from, want, limit int) (last Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for next := from; next < from+want; {
		got, err := p.Next(ctx, min(limit, from+want-next))
		if err != nil {
			t.Fatalf("after message %d: %v", next-1, err)
		}
		if len(got) == 0 || len(got) > limit {
			t.Fatalf("%d messages, want 1 to %d", len(got), limit)
		}
		for _, d := range got {
			if string(d.Data) != strconv.Itoa(next) {
				t.Fatalf("message %q, want %d", d.Data, next)
			}
			next++
			last = d
		}
	}
	return last
}

func TestPullerReadsInOrder(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.1", 0, 10) // another subject of the same stream
	fill(t, conn, "LOG.0", 1, 3000)
	before := time.Now()
	p := openPuller(t, js, 0, 100)
	last := pull(t, p, 1, 3000, 250)
	if last.Sequence != 3010 || last.Subject != "LOG.0" {
		t.Errorf("last delivery is %s %d, want LOG.0 3010", last.Subject, last.Sequence)
	}
	if age := before.Sub(last.Stored); age < 0 || age > time.Minute || last.Stored.Location() != time.UTC {
		t.Errorf("stored at %s", last.Stored)
	}
}

func TestPullerStartsAtASequence(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 20)
	p := openPuller(t, js, 0, 5)
	pull(t, p, 1, 20, 20)
	for _, from := range []uint64{15, 3, 20} { // forth and back
		p.Close()
		p = openPuller(t, js, from, 5)
		pull(t, p, int(from), 20-int(from)+1, 20)
	}
	p.Close()
	p = openPuller(t, js, 21, 5) // nothing is there yet
	fill(t, conn, "LOG.0", 21, 2)
	pull(t, p, 21, 2, 5)
}

// A reader that keeps running dry is where a lost pull request shows: nothing would come any more.
func TestPullerLosesNoRequestWhenItRunsDry(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	p := openPuller(t, js, 0, 3)
	chance := rand.New(rand.NewPCG(1, 2))
	next := 1
	for range 1500 {
		count := 1 + chance.IntN(9)
		wrote := make(chan struct{})
		go func(from int) {
			defer close(wrote)
			for i := range count {
				if err := conn.Publish("LOG.0", []byte(strconv.Itoa(from+i))); err != nil {
					t.Error(err)
				}
			}
		}(next)
		pull(t, p, next, count, 1+chance.IntN(5))
		<-wrote
		next += count
		if p.open <= 0 || p.open > 2*p.batch {
			t.Fatalf("%d messages asked for, want 1 to %d", p.open, 2*p.batch)
		}
	}
}

// A time limit that passes in the midst of a batch loses nothing of it.
func TestPullerKeepsWhatItTookWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	p := openPuller(t, js, 0, 50)
	const count = 3000
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range count {
			if err := conn.Publish("LOG.0", []byte(strconv.Itoa(i+1))); err != nil {
				t.Error(err)
			}
		}
	}()
	chance := rand.New(rand.NewPCG(11, 12))
	next, short := 1, 0
	for deadline := time.Now().Add(patience); next <= count; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(chance.IntN(300))*time.Microsecond)
		got, err := p.Next(ctx, 100)
		if ctx.Err() != nil {
			short++
		}
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		for _, d := range got {
			if string(d.Data) != strconv.Itoa(next) {
				t.Fatalf("message %q, want %d", d.Data, next)
			}
			next++
		}
		if time.Now().After(deadline) {
			t.Fatalf("read up to message %d", next-1)
		}
	}
	<-written
	if short == 0 {
		t.Error("no time limit passed: the test shows nothing")
	}
}

// Requests end after a while; the account of what they owe stays right.
func TestPullerRenewsRequestsThatExpired(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	p := openPuller(t, js, 0, 4)
	fill(t, conn, "LOG.0", 1, 1) // one request ends half used
	pull(t, p, 1, 1, 1)
	for deadline := time.Now().Add(patience); p.requests < 5; {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := p.Next(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want %v", err, context.DeadlineExceeded)
		}
		cancel()
		if time.Now().After(deadline) {
			t.Fatalf("%d requests were sent", p.requests)
		}
	}
	fill(t, conn, "LOG.0", 2, 30)
	pull(t, p, 2, 30, 7)
	eventually(t, "nothing pending, and one or two open requests", func() bool { // the broker drops the expired in its own time
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := p.Next(ctx, 1); !errors.Is(err, context.DeadlineExceeded) { // or all of them would expire
			t.Fatalf("error %v, want %v", err, context.DeadlineExceeded)
		}
		consumer, err := js.Consumer(t.Context(), "LOG", "reader-0")
		if err != nil {
			t.Fatal(err)
		}
		info := consumer.CachedInfo()
		return info.NumPending == 0 && info.NumWaiting >= 1 && info.NumWaiting <= 2
	})
}

// Whoever opens the consumer takes it: the former reader learns it, and its open requests take nothing.
func TestPullerEndsWhenTheConsumerIsOpenedAgain(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 2)
	former := openPuller(t, js, 0, 2)
	last := pull(t, former, 1, 2, 2) // a request for more is open
	if err := former.Ack(last); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the acknowledgement is taken", func() bool {
		consumer, err := js.Consumer(t.Context(), "LOG", "reader-0")
		return err == nil && consumer.CachedInfo().AckFloor.Stream == 2
	})
	p := openPuller(t, js, 0, 10)
	fill(t, conn, "LOG.0", 3, 8)
	pull(t, p, 3, 8, 10) // after what was acknowledged, all of it
	ends(t, former)
}

// ends makes sure that a former reader gets nothing any more, and learns why.
func ends(t *testing.T, former *Puller) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := former.Next(ctx, 5); !errors.Is(err, ErrConsumerGone) {
		t.Errorf("the former reader got %d messages, %v; want %v", len(got), err, ErrConsumerGone)
	}
}

// A former reader was stopped, and asks only now: nothing of what it gets is its own, before or after the new one
// has asked, and whether the numbers of the deliveries would fit or not.
func TestPullerAsksInVainForAnothersMessages(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 10)
	first := openPuller(t, js, 1, 5) // has not asked for anything yet
	second := openPuller(t, js, 1, 5)
	third, err := NewPuller(conn, "LOG", "reader-0", 5) // knows nothing but the name
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	ends(t, first)
	ends(t, third)
	pull(t, second, 1, 10, 10)
	fill(t, conn, "LOG.0", 11, 2)
	ends(t, first)
	pull(t, second, 11, 2, 10)
}

// What comes again is another delivery, with a number that follows: it must not pass for the next message.
func TestPullerTakesNothingTwice(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 3)
	_, err := CreateConsumer(t.Context(), js, "LOG", jetstream.ConsumerConfig{
		Durable: "impatient", FilterSubject: "LOG.0", AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1, AckWait: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPuller(conn, "LOG", "impatient", 10)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	pull(t, p, 1, 3, 10)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := p.Next(ctx, 10); !errors.Is(err, ErrRepeat) {
		t.Errorf("got %d messages, %v; want %v", len(got), err, ErrRepeat)
	}
}

// A former reader's acknowledgement comes late: the broker would ignore the new reader's own for long.
func TestPullerNoticesAFormerReadersAcknowledgement(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 100)
	former := openPuller(t, js, 1, 100)
	late := pull(t, former, 1, 95, 100)
	p := openPuller(t, js, 91, 5)
	pull(t, p, 91, 10, 10)
	p.looked = time.Time{}
	fill(t, conn, "LOG.0", 101, 1)
	pull(t, p, 101, 1, 10) // all is well
	if err := former.Ack(late); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the acknowledgement is taken", func() bool {
		consumer, err := js.Consumer(t.Context(), "LOG", "reader-0")
		return err == nil && consumer.CachedInfo().AckFloor.Consumer == 95
	})
	p.looked = time.Time{}
	if got, err := p.Next(t.Context(), 5); !errors.Is(err, ErrConsumerGone) {
		t.Errorf("%d messages and error %v, want %v", len(got), err, ErrConsumerGone)
	}
}

func TestOpenConsumerKeepsTheFloor(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 20)
	for _, step := range []struct{ from, floor uint64 }{{0, 0}, {8, 7}, {0, 7}, {3, 2}, {21, 20}, {0, 20}} {
		openPuller(t, js, step.from, 5).Close()
		consumer, err := js.Consumer(t.Context(), "LOG", "reader-0")
		if err != nil {
			t.Fatal(err)
		}
		if floor := consumer.CachedInfo().AckFloor.Stream; floor != step.floor {
			t.Errorf("opened from %d it stands at %d, want %d", step.from, floor, step.floor)
		}
	}
}

// Another reader's request takes the head, or one in the midst: the puller must notice.
func TestPullerNoticesThatAForeignRequestTookADelivery(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 3} {
		t.Run(strconv.Itoa(before), func(t *testing.T) {
			t.Parallel()
			conn, js := logStream(t)
			if _, err := js.CreateConsumer(t.Context(), "LOG", jetstream.ConsumerConfig{Name: "shared", FilterSubject: "LOG.0", AckPolicy: jetstream.AckNonePolicy}); err != nil {
				t.Fatal(err)
			}
			p, err := NewPuller(conn, "LOG", "shared", 10)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if before > 0 {
				fill(t, conn, "LOG.0", 1, before)
				pull(t, p, 1, before, before)
			}
			foreign, err := conn.SubscribeSync(conn.NewInbox())
			if err != nil {
				t.Fatal(err)
			}
			if before > 0 { // behind the puller's own requests
				fill(t, conn, "LOG.0", 1+before, 2*p.batch-before)
			}
			if err := conn.PublishRequest(p.subject, foreign.Subject, []byte(`{"batch":1,"expires":10000000000}`)); err != nil {
				t.Fatal(err)
			}
			fill(t, conn, "LOG.0", 1+before, 3*p.batch)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for err == nil {
				_, err = p.Next(ctx, 100)
			}
			if !errors.Is(err, ErrGap) {
				t.Errorf("error %v, want %v", err, ErrGap)
			}
		})
	}
}

// A delivery that is lost on its way is missed although none comes after it.
func TestPullerNoticesThatTheLastDeliveryWasLost(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	p := openPuller(t, js, 1, 10)
	fill(t, conn, "LOG.0", 1, 5)
	pull(t, p, 1, 5, 10)
	fill(t, conn, "LOG.0", 6, 1)
	for lost := false; !lost; {
		m, err := p.sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		lost = len(m.Data) > 0
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := p.Next(ctx, 10); !errors.Is(err, ErrGap) || !strings.Contains(err.Error(), "5 have come of 6") {
		t.Errorf("%d messages, error %v", len(got), err)
	}
}

func TestPullerEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(t *testing.T, conn *nats.Conn, js jetstream.JetStream, cancel context.CancelFunc)
		want error
	}{
		"consumer deleted": {func(t *testing.T, _ *nats.Conn, js jetstream.JetStream, _ context.CancelFunc) {
			if err := js.DeleteConsumer(t.Context(), "LOG", "reader-0"); err != nil {
				t.Error(err)
			}
		}, ErrConsumerGone},
		"stream deleted": {func(t *testing.T, _ *nats.Conn, js jetstream.JetStream, _ context.CancelFunc) {
			if err := js.DeleteStream(t.Context(), "LOG"); err != nil {
				t.Error(err)
			}
		}, ErrConsumerGone},
		"connection closed": {func(_ *testing.T, conn *nats.Conn, _ jetstream.JetStream, _ context.CancelFunc) { conn.Close() }, nats.ErrConnectionClosed},
		"context ended":     {func(_ *testing.T, _ *nats.Conn, _ jetstream.JetStream, cancel context.CancelFunc) { cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, js := logStream(t)
			p := openPuller(t, js, 0, 10)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := p.Next(ctx, 10)
				ended <- err
			}()
			consumer, err := js.Consumer(t.Context(), "LOG", "reader-0")
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "a request is open", func() bool {
				info, err := consumer.Info(t.Context())
				return err == nil && info.NumWaiting > 0
			})
			test.end(t, conn, js, cancel)
			if err := <-ended; !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestPullerMissesTheServer(t *testing.T) {
	t.Parallel()
	n := enginetest.NATS(t)
	_, js := connect(t, n)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LOG", Subjects: []string{"LOG.*"}}); err != nil {
		t.Fatal(err)
	}
	p := openPuller(t, js, 0, 10)
	ended := make(chan error, 1)
	go func() {
		_, err := p.Next(context.Background(), 10)
		ended <- err
	}()
	n.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrPullLost) && !errors.Is(err, ErrConsumerGone) { // by silence, or by the broken link
			t.Errorf("error %v, want %v or %v", err, ErrPullLost, ErrConsumerGone)
		}
	case <-time.After(patience):
		t.Fatal("it still waits")
	}
}

func TestPullerWithoutConsumer(t *testing.T) {
	t.Parallel()
	conn, _ := logStream(t)
	p, err := NewPuller(conn, "LOG", "nobody", 10)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Next(t.Context(), 1); !errors.Is(err, ErrConsumerGone) {
		t.Errorf("error %v, want %v", err, ErrConsumerGone)
	}
}

func TestParseReply(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reply              string
		sequence, delivery uint64
		stored             time.Time
		ok                 bool
	}{
		{"$JS.ACK.LOG.reader-0.1.42.7.1700000000123456789.3", 42, 7, time.Unix(1700000000, 123456789).UTC(), true},
		{"$JS.ACK.hub.ACCHASH.LOG.reader-0.1.42.7.1700000000123456789.3", 42, 7, time.Unix(1700000000, 123456789).UTC(), true},
		{"$JS.ACK._.ACCHASH.LOG.reader-0.1.42.7.1700000000123456789.3.token", 42, 7, time.Unix(1700000000, 123456789).UTC(), true},
		{"", 0, 0, time.Time{}, false},
		{"_INBOX.x.1", 0, 0, time.Time{}, false},
		{"a.b.LOG.reader-0.1.42.7.1700000000123456789.3", 0, 0, time.Time{}, false},
		{"$JS.ACK.LOG.reader-0.1.42.7", 0, 0, time.Time{}, false},
		{"$JS.ACK.LOG.reader-0.1.x.7.1700000000123456789.3", 0, 0, time.Time{}, false},
		{"$JS.ACK.LOG.reader-0.1.42.-7.1700000000123456789.3", 0, 0, time.Time{}, false},
		{"$JS.ACK.LOG.reader-0.1.42.7.now.3", 0, 0, time.Time{}, false},
	} {
		sequence, delivery, stored, err := parseReply(test.reply)
		if (err == nil) != test.ok {
			t.Errorf("%q: error %v", test.reply, err)
			continue
		}
		if sequence != test.sequence || delivery != test.delivery || !stored.Equal(test.stored) {
			t.Errorf("%q: %d, %d, %s", test.reply, sequence, delivery, stored)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add("$JS.ACK.LOG.reader-0.1.42.7.1700000000123456789.3")
	f.Add("$JS.ACK.hub.ACCHASH.LOG.reader-0.1.42.7.1700000000123456789.3")
	f.Add("$JS.ACK.........")
	f.Fuzz(func(t *testing.T, reply string) {
		sequence, delivery, stored, err := parseReply(reply)
		if err != nil {
			if sequence != 0 || delivery != 0 || !stored.IsZero() {
				t.Errorf("%q: an answer beside the error %v", reply, err)
			}
			return
		}
		short := "$JS.ACK.s.c.1." + strconv.FormatUint(sequence, 10) + "." + strconv.FormatUint(delivery, 10) + "." + strconv.FormatInt(stored.UnixNano(), 10) + ".0"
		s, d, at, err := parseReply(short)
		if err != nil || s != sequence || d != delivery || !at.Equal(stored) {
			t.Errorf("%q is read as %q, which is read as %d, %d, %s, %v", reply, short, s, d, at, err)
		}
	})
}
