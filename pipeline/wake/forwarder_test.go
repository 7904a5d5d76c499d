package wake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline/bus"
	"attune/pipeline/embedded"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

type rig struct {
	t    *testing.T
	js   jetstream.JetStream
	stop func()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := startRig(t, t.TempDir())
	t.Cleanup(r.stop)
	return r
}

// startRig starts the broker on what it has in the folder; stop ends it.
func startRig(t *testing.T, dir string) *rig {
	t.Helper()
	server, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	config := topology.DefaultConfig()
	config.Partitions = 2
	if err := topology.Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, js: js, stop: func() { conn.Close(); server.Close() }}
}

// forward runs the forwarder on partition 1 until stop is called.
func (r *rig) forward() (stop func()) {
	r.t.Helper()
	f := NewForwarder(r.js, time.Now, slog.New(slog.DiscardHandler))
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		r.t.Fatal(err)
	}
	router.AddHandler("wake-1", topology.DueSubject(1), f.Subscriber(), "", bus.NewPublisher(r.js), f.Handle)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return sync.OnceFunc(func() {
		if err := router.Close(); err != nil {
			r.t.Error(err)
		}
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// arm asks for a wake-up as the relay does.
func (r *rig) arm(profile string, at time.Time) {
	r.t.Helper()
	if _, err := r.js.PublishMsg(r.t.Context(), &nats.Msg{
		Subject: topology.ScheduleSubject(1, 1, profile), Data: []byte(profile),
		Header: nats.Header{"Nats-Schedule": {"@at " + event.At(at).String()}, "Nats-Schedule-Target": {topology.DueSubject(1)}},
	}); err != nil {
		r.t.Fatal(err)
	}
}

// woken counts the wake-ups that the log's reader would apply, by profile; a repeat has a known source ordinal.
func (r *rig) woken() (byProfile map[string]int, records int) {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), topology.Events)
	if err != nil {
		r.t.Fatal(err)
	}
	byProfile = map[string]int{}
	highest := uint64(0)
	for next := uint64(1); ; {
		m, err := stream.GetMsg(r.t.Context(), next, jetstream.WithGetMsgSubject("EVENTS.*"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return byProfile, records
		}
		if err != nil {
			r.t.Fatal(err)
		}
		next = m.Sequence + 1
		e, err := event.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Type != event.Wake || m.Subject != "EVENTS.1" || e.Source.Name != r.source() || e.Source.Ordinal == 0 || e.Accepted == 0 {
			r.t.Fatalf("%s holds %+v", m.Subject, e)
		}
		records++
		if e.Source.Ordinal > highest && e.Source.After <= highest {
			highest = e.Source.Ordinal
			byProfile[e.Profile]++
		}
	}
}

// left counts the messages of WAKE by kind.
func (r *rig) left(filter string) (count uint64) {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), topology.Wakeups)
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := stream.Info(r.t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, n := range info.State.Subjects {
		count += n
	}
	return count
}

func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func TestForwarderBringsDueWakeUpsIntoTheLogOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.forward()
	defer stop()
	due := time.Now().Add(1500 * time.Millisecond)
	r.arm("past", time.Now().Add(-time.Hour))
	r.arm("soon", due)
	r.arm("later", time.Now().Add(time.Hour))
	r.eventually("the past one is in the log", func() bool { got, _ := r.woken(); return got["past"] == 1 })
	if got, _ := r.woken(); got["soon"] != 0 && time.Now().Before(due) {
		t.Error("a wake-up came too early")
	}
	r.eventually("the next one is in the log", func() bool { got, _ := r.woken(); return got["soon"] == 1 })
	if time.Now().Before(due) {
		t.Errorf("a wake-up came %s too early", time.Until(due))
	}
	r.eventually("due wake-ups are deleted", func() bool { return r.left("WAKE.due.>") == 0 })
	if n := r.left("WAKE.at.>"); n != 1 {
		t.Errorf("%d schedules are left, want the later one", n)
	}
	got, records := r.woken()
	if diff := cmp.Diff(map[string]int{"past": 1, "soon": 1}, got); diff != "" || records != 2 {
		t.Errorf("%d records: %s", records, diff)
	}
}

// The schedule that replaced another fires, the other one does not.
func TestAReplacedScheduleFiresOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.forward()
	defer stop()
	now := time.Now()
	r.arm("earlier", now.Add(time.Hour))
	r.arm("earlier", now.Add(time.Second))
	r.arm("later", now.Add(time.Second))
	r.arm("later", now.Add(2*time.Second))
	if n := r.left("WAKE.at.>"); n != 2 {
		t.Errorf("%d schedules for two profiles", n)
	}
	r.eventually("the later one is in the log", func() bool { got, _ := r.woken(); return got["later"] > 0 })
	if time.Since(now) < 2*time.Second {
		t.Error("the replaced schedule fired")
	}
	r.eventually("all are fired and deleted", func() bool { return r.left("WAKE.>") == 0 })
	got, _ := r.woken()
	if diff := cmp.Diff(map[string]int{"earlier": 1, "later": 1}, got); diff != "" {
		t.Error(diff)
	}
}

// source is the name under which partition 1's wake-ups come into the log.
func (r *rig) source() string {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), topology.Wakeups)
	if err != nil {
		r.t.Fatal(err)
	}
	return "wake." + topology.Generation(stream.CachedInfo()) + ".1"
}

// The forwarder is stopped again and again while wake-ups come due, also before it could acknowledge.
func TestForwarderDoublesNothingOverRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const count = 400
	for i := range count {
		if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: topology.DueSubject(1), Data: fmt.Append(nil, "p", i)}); err != nil {
			t.Fatal(err)
		}
	}
	// A forwarder that died after appending to the log and before it acknowledged: the record comes again.
	for i, profile := range []string{"p0", "p1", "p2"} {
		e := event.Event{
			ID: "w", Type: event.Wake, Profile: profile, Accepted: 1,
			Source: event.Source{Name: r.source(), Ordinal: uint64(i + 1), After: uint64(i)},
		}
		data, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.Publish(t.Context(), topology.Subject(topology.Events, 1), data); err != nil {
			t.Fatal(err)
		}
	}
	for records := 3; records < count; {
		stop := r.forward()
		before := records
		r.eventually("some are forwarded", func() bool { _, records = r.woken(); return records > before || r.left("WAKE.due.>") == 0 })
		stop()
		if r.left("WAKE.due.>") == 0 {
			break
		}
	}
	stop := r.forward()
	r.eventually("due wake-ups are deleted", func() bool { return r.left("WAKE.due.>") == 0 })
	stop()
	want := map[string]int{}
	for i := range count {
		want[fmt.Sprint("p", i)] = 1
	}
	got, records := r.woken()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if records < count+3 {
		t.Errorf("%d records: nothing was repeated, the test shows nothing", records)
	}
}
