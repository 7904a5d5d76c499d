package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/lease"
	"attune/pipeline/topology"
)

// workers are processes of `attune run` over one broker, without a database.
type workers struct {
	*installed
	logs *lockedBuffer
}

func newWorkers(t *testing.T) *workers {
	t.Helper()
	return &workers{install(t, 8, "listen: 127.0.0.1:0", "ingest: {write_keys: [{name: web, key: secret}]}"), new(lockedBuffer)}
}

// start runs parts that need nothing but the broker.
func (w *workers) start(only string) *exec.Cmd {
	w.t.Helper()
	cmd := attune(context.WithoutCancel(w.t.Context()), "run", "--config", w.file, "--only", only)
	cmd.Stderr = w.logs
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill() // where it has not ended
		_ = cmd.Wait()
	})
	return cmd
}

// owned are the topics that a process holds, as the bucket says.
func (w *workers) owned(cmd *exec.Cmd) (topics []lease.Topic) {
	w.t.Helper()
	picture, err := lease.Look(w.t.Context(), w.js)
	if err != nil {
		w.t.Fatal(err)
	}
	for topic := range picture.Claims {
		if holder, ok := picture.Holder(topic); ok && holder.PID == cmd.Process.Pid {
			topics = append(topics, topic)
		}
	}
	return topics
}

func (w *workers) await(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within a minute: %s\n%s", what, w.logs)
		}
	}
}

// awaitCommitted waits until a customer's event has passed the chain.
func (w *workers) awaitCommitted(customer string) {
	w.t.Helper()
	w.await("the event is committed", func() bool {
		for p := range 8 {
			if w.read(p).events[customer] == 1 {
				return true
			}
		}
		return false
	})
}

func (w *workers) awaitOwned(cmd *exec.Cmd, topics int) {
	w.t.Helper()
	w.await(fmt.Sprintf("process %d owns %d topics", cmd.Process.Pid, topics), func() bool { return len(w.owned(cmd)) == topics })
}

// load sends views of customers into RAW until stop is called, which returns how many each customer has: their
// numbers rise.
func (w *workers) load() (stop func() map[string]int) {
	w.t.Helper()
	raw, err := pipeline.NewRawLog(w.t.Context(), w.js, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	sent := map[string]int{}
	ended := make(chan error, 1)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			var records []event.Raw
			for c := range 40 {
				user := fmt.Sprintf("c%d", c)
				sent[user]++
				records = append(records, event.Raw{Key: user, Accepted: time.Now(), Payload: fmt.Appendf(nil,
					`{"type":"track","messageId":"%s-%d","userId":"%s","event":"Product Viewed","properties":{"product_id":"p1"}}`, user, sent[user], user)})
			}
			if err := raw.Append(w.t.Context(), records); err != nil {
				ended <- err
				return
			}
			<-tick.C
		}
		ended <- nil
	}()
	return func() map[string]int {
		cancel()
		if err := <-ended; err != nil {
			w.t.Fatal(err)
		}
		raw.Close()
		return sent
	}
}

// committed is what the commits of one partition say.
type committed struct {
	events map[string]int // by customer: the number of the newest one
	first  time.Time      // when the first commit of the last epoch that holds facts was stored
	epoch  uint64
}

// read goes through all commits of a partition. Facts must be there once and in order, under one unbroken hash.
func (w *workers) read(partition int) committed {
	w.t.Helper()
	subject := topology.Subject(topology.Commits, partition)
	got := committed{events: map[string]int{}}
	running := pipeline.NewRunningHash(nil)
	position := uint64(0)
	for commit := range w.commits(subject) {
		if commit.Epoch < got.epoch || commit.Position < position {
			w.t.Errorf("%s %d: epoch %d and position %d come after %d and %d", subject, commit.sequence, commit.Epoch, commit.Position, got.epoch, position)
		}
		if commit.Epoch > got.epoch {
			got.epoch, got.first = commit.Epoch, time.Time{}
		}
		if got.first.IsZero() && len(commit.Facts) > 0 {
			got.first = commit.at
		}
		position = commit.Position
		for r, err := range pipeline.Records(commit.Facts) {
			if err != nil {
				w.t.Fatal(err)
			}
			running.Add(r.Position, r.Data)
		}
		if !bytes.Equal(running.Sum(), commit.Hash) {
			w.t.Fatalf("%s %d: the running hash is broken", subject, commit.sequence)
		}
		for _, e := range commit.facts.Events {
			user, number, _ := strings.Cut(e.Event.ID, "-")
			if n, _ := strconv.Atoi(number); n != got.events[user]+1 {
				w.t.Errorf("%s %d: event %s comes after number %d", subject, commit.sequence, e.Event.ID, got.events[user])
			}
			got.events[user]++
		}
	}
	return got
}

// Two processes share the partitions. One is stopped under load for longer than its lease, and wakes as a zombie;
// one is killed, one leaves. Each event is in the commits once, and in order.
func TestWorkersSharePartitions(t *testing.T) {
	w := newWorkers(t)
	const chains, all = "normalize,customer", 16 // eight partitions of each
	first := w.start(chains)
	w.awaitOwned(first, all)
	stop := w.load()
	second := w.start(chains)
	w.awaitOwned(second, all/2)
	w.awaitOwned(first, all/2)

	if err := second.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.awaitOwned(first, all)
	if err := second.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.awaitOwned(second, all/2)
	w.awaitOwned(first, all/2)

	orphans := w.owned(first)
	killed := time.Now()
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.awaitOwned(second, all)
	for _, topic := range orphans {
		if topic.Chain != pipeline.ReaderCustomer {
			continue
		}
		p, err := strconv.Atoi(topic.Name)
		if err != nil {
			t.Fatal(err)
		}
		var took time.Duration
		w.await("the successor commits in partition "+topic.Name, func() bool {
			got := w.read(p)
			took = got.first.Sub(killed)
			return took > 0 || len(got.events) == 0
		})
		if took <= 0 {
			continue // no customer came to lie there
		}
		t.Logf("partition %d: the successor's first commit %s after kill -9", p, took.Round(time.Millisecond))
		if took > 20*time.Second { // how fast it is, the benchmark tells; this is what a live owner that lets nothing go takes
			t.Errorf("partition %d stood still for %s: the death went unnoticed", p, took)
		}
	}

	third := w.start(chains)
	w.awaitOwned(third, all/2)
	left := time.Now()
	if err := second.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Fatalf("the worker ended with %v\n%s", err, w.logs)
	}
	w.awaitOwned(third, all)
	t.Logf("handed over and ended within %s", time.Since(left).Round(time.Millisecond))

	sent := stop()
	w.await("every event is committed", func() bool {
		total := 0
		for p := range 8 {
			for _, n := range w.read(p).events {
				total += n
			}
		}
		return total >= len(sent)*sent["c0"]
	})
	for p := range 8 {
		for user, n := range w.read(p).events {
			if n != sent[user] {
				t.Errorf("customer %s has %d events in partition %d, %d were sent", user, n, p, sent[user])
			}
			delete(sent, user)
		}
	}
	if len(sent) > 0 {
		t.Errorf("nothing was committed of %v", sent)
	}
}

// Each part runs by itself, without the connections that only the others need, and serves what it has.
func TestPartsRunByThemselves(t *testing.T) {
	t.Parallel()
	w := newWorkers(t)
	processes := map[string]*exec.Cmd{}
	for _, part := range []string{"ingest", "normalize", "customer", "deliver"} {
		processes[part] = w.start(part)
	}
	spare := w.start("normalize")
	addresses := map[int]string{}
	w.await("all beat", func() bool {
		picture, err := lease.Look(t.Context(), w.js)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range picture.Workers() {
			addresses[m.PID] = "http://" + m.Listen
		}
		return len(addresses) == 5
	})
	for part, cmd := range processes {
		d := &dev{t: t, logs: w.logs, IngestURL: addresses[cmd.Process.Pid], WriteKey: "secret"}
		for _, path := range []string{"/livez", "/readyz", "/metrics"} {
			d.eventually(20*time.Second, part+path, func() bool {
				answer, err := http.Get(d.IngestURL + path)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				return answer.StatusCode == http.StatusOK
			})
		}
		want := map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[part == "ingest"]
		if status := d.post("/v1/track", `{"messageId":"c0-1","userId":"c0","event":"Product Viewed"}`); status != want {
			t.Errorf("%s answers an event with %d, want %d", part, status, want)
		}
	}
	w.awaitOwned(spare, 4)
	w.awaitCommitted("c0")
	if strings.Contains(w.logs.String(), "topic lost") {
		t.Errorf("workers got in each other's way:\n%s", w.logs)
	}
}

func TestOnlyRunsWhatIsNamed(t *testing.T) {
	t.Parallel()
	if said := failure(t, "run", "--only", "customers"); !strings.Contains(said, "ingest, normalize, customer, deliver, rollout, sink, learn") {
		t.Errorf("an unknown part is refused with %q", said)
	}
	for _, p := range parts() {
		run, err := chosen([]string{p.name})
		if err != nil || len(run) != 1 || run[0].name != p.name {
			t.Errorf("--only %s: %d parts, %v", p.name, len(run), err)
		}
		if help := output(t, "run", "--help"); !strings.Contains(help, p.name) {
			t.Errorf("the help does not name %s", p.name)
		}
	}
	if run, err := chosen(nil); err != nil || len(run) != len(parts()) {
		t.Errorf("without --only: %d parts, %v", len(run), err)
	}
}
