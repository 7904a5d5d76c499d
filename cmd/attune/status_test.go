package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/lease"
	"attune/pipeline/rollout"
	"attune/pipeline/topology"
)

func (w *workers) status() (s survey) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(output(w.t, "status", "--json", "--config", w.file)), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// find is one reader of a topic.
func (s *survey) find(reader, topic string) readerStatus {
	for _, r := range s.Readers {
		if r.Reader == reader && r.Topic == topic {
			return *r
		}
	}
	return readerStatus{}
}

func TestStatusShowsWhoOwnsWhatAndWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorkers(t)
	raw, err := pipeline.NewRawLog(w.t.Context(), w.js, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var calls []event.Raw
	for i := range 300 {
		calls = append(calls, event.Raw{Key: "c0", Accepted: time.Now(), Payload: fmt.Appendf(nil, `{"type":"track","messageId":"c0-%d","userId":"c0","event":"Product Viewed"}`, i+1)})
	}
	calls = append(calls, event.Raw{Key: "c1", Accepted: time.Now(), Payload: []byte(`{}`)}) // goes to the dead letters
	if err := raw.Append(t.Context(), calls); err != nil {
		t.Fatal(err)
	}
	q := fmt.Sprint(topology.Partition("c0", 8))
	s := w.status()
	if r := s.find("normalize", q); r.Lag < 300 || r.Oldest <= 0 || r.Owner != "" {
		t.Errorf("before anyone runs: %+v", r)
	}
	if len(s.Workers) != 0 || !slices.ContainsFunc(s.Alarms, func(a string) bool { return strings.HasPrefix(a, "no worker runs customer") }) {
		t.Errorf("before anyone runs there are the workers %v and the alarms %q", s.Workers, s.Alarms)
	}

	cmd := w.start("normalize,customer")
	w.awaitOwned(cmd, 16)
	w.await("all is worked on", func() bool {
		total := 0
		for p := range 8 {
			total += w.read(p).events["c0"]
		}
		return total == 300
	})
	w.await("status shows that nothing waits", func() bool {
		s = w.status()
		return s.find("normalize", q).Lag == 0 && s.DeadLetters == 1
	})
	if len(s.Workers) != 1 || s.Workers[0].PID != cmd.Process.Pid || len(s.Workers[0].Owns["customer"]) != 8 || s.Workers[0].Listen == "" {
		t.Errorf("workers %+v", s.Workers)
	}
	tail, waits := uint64(0), uint64(0)
	for _, r := range s.Readers {
		if r.Reader == "customer" {
			tail += r.Tail
			if r.Owner != s.Workers[0].ID {
				t.Errorf("partition %s is owned by %q", r.Topic, r.Owner)
			}
		}
		if r.Reader == pipeline.ReaderClickHouse {
			waits = r.Lag
		}
	}
	commits, err := held(t.Context(), w.js, topology.Commits, topology.Commits+".*")
	if err != nil {
		t.Fatal(err)
	}
	if tail == 0 || tail > commits || waits != commits { // the mark of what was folded goes with the next commit
		t.Errorf("%d commits are unfolded and %d wait for the sink, of %d", tail, waits, commits)
	}
	table := output(t, "status", "--config", w.file)
	for _, want := range []string{s.Workers[0].ID, "normalize 8, customer 8", "Dead letters 1", "! no worker runs sink", "PARTITION"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table does not show %q:\n%s", want, table)
		}
	}
	t.Logf("\n%s", table)
}

func TestStatusShowsRates(t *testing.T) {
	t.Parallel()
	w := newWorkers(t)
	w.awaitOwned(w.start("normalize,customer"), 16)
	stop := w.load()
	w.await("events per second", func() bool {
		s := w.status()
		normalized, customers := 0.0, 0.0
		for _, r := range s.Readers {
			switch r.Reader {
			case "normalize":
				normalized += r.Rate
			case "customer":
				customers += r.Rate
			}
		}
		return normalized > 100 && customers > 100
	})
	stop()
}

func TestStatusRaisesARolloutThatComesNoFurther(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	all := map[string][]string{}
	for _, p := range parts() {
		all[p.name] = nil
	}
	for name, c := range map[string]struct {
		progress rollout.Progress
		says     string
	}{
		"it goes on":                {rollout.Progress{Updated: ago(time.Second)}, ""},
		"it stands still":           {rollout.Progress{Updated: ago(time.Minute)}, "has stood still for 1m0s"},
		"it has just failed":        {rollout.Progress{Updated: now, Failing: ago(time.Second), Failure: "refused"}, ""},
		"it fails again and again":  {rollout.Progress{Updated: now, Failing: ago(time.Minute), Failure: "refused"}, "has failed again and again for 1m0s: refused"},
		"it failed, and has no one": {rollout.Progress{Updated: ago(time.Minute), Failing: ago(2 * time.Minute), Failure: "refused"}, "for 2m0s: refused"},
	} {
		s := survey{At: now, Rollout: &c.progress}
		s.raise(&lease.Picture{Members: map[string]lease.Member{"w": {Chains: all}}})
		if got := strings.Join(s.Alarms, "\n"); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: alarms %q, want %q", name, s.Alarms, c.says)
		}
	}
}

func TestStatusRaisesCallsThatWaitTooLong(t *testing.T) {
	t.Parallel()
	for age, alarms := range map[time.Duration]int{rawAlarm - time.Minute: 0, rawAlarm + time.Minute: 1} {
		s := survey{Readers: []*readerStatus{
			{Chain: "normalize", Reader: "normalize", Topic: "3", Oldest: age.Seconds(), stream: topology.Raw, subject: "RAW.3"},
			{Chain: "customer", Reader: "customer", Topic: "3", Oldest: age.Seconds(), stream: topology.Events, subject: "EVENTS.3"}, // may wait
		}}
		all := map[string][]string{}
		for _, p := range parts() {
			all[p.name] = nil
		}
		s.raise(&lease.Picture{Members: map[string]lease.Member{"w": {Chains: all}}})
		if len(s.Alarms) != alarms || alarms > 0 && !strings.Contains(s.Alarms[0], "RAW.3") {
			t.Errorf("after %s: alarms %q, want %d", age, s.Alarms, alarms)
		}
	}
}
