package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"attune/pipeline"
	"attune/pipeline/embedded"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// hoard is a stage that keeps what the event says: a profile that grows.
type hoard struct{}

func (hoard) Name() string { return "hoard" }

func (hoard) Due(p *profile.Profile) event.Instant { return 0 }

func (hoard) Apply(s *pipeline.Step) {
	if len(s.Event.Properties) == 0 {
		return
	}
	if s.Profile.Traits == nil {
		s.Profile.Traits = map[string]profile.Trait{}
	}
	s.Profile.Traits[s.Event.ID] = profile.Trait{Value: s.Event.Properties}
}

func (r *rig) appendProperties(ordinal uint64, id string, size int) {
	r.t.Helper()
	e := event.Event{
		ID: fmt.Sprintf("e%d", ordinal), Type: event.Track, Name: "x", Profile: id,
		Source: event.Source{Name: "test", Ordinal: ordinal, After: ordinal - 1},
	}
	if size > 0 {
		e.Properties = event.Object(`{"x":"` + strings.Repeat("x", size) + `"}`)
	}
	data, err := e.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.js.Publish(r.t.Context(), topology.Subject(topology.Events, 0), data); err != nil {
		r.t.Fatal(err)
	}
}

func smallRig(t *testing.T, maxPayload int32) *rig {
	t.Helper()
	n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), MaxPayload: maxPayload})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return newRigOn(t, n, 1)
}

// journal collects log lines.
type journal struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.lines.String(), text)
}

func TestCustomerSaysThatACommitIsTooLarge(t *testing.T) {
	t.Parallel()
	r := smallRig(t, 32<<10)
	for i := range uint64(20) {
		r.appendProperties(i+1, "p", 4<<10)
	}
	var log journal
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) {
		c.CommitBytes = 1 << 20
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	eventually(t, "the log says what to do", func() bool {
		return log.has("max_payload of 32768") && log.has("raise it")
	})
	if position := r.lastCommit().Position; position >= 20 {
		t.Errorf("position %d", position)
	}
	stop()
	stop, _ = r.worker(func(c *pipeline.CustomerConfig) { c.CommitBytes = 8 << 10 }) // as the log says
	r.waitPosition(20)
	stop()
}

// Small events of customers of whom much is known: it is the profiles that fill the commit.
func TestCustomerCutsByTheSizeOfTheProfiles(t *testing.T) {
	t.Parallel()
	const people, rounds, limit = 100, 4, 16 << 10
	r := smallRig(t, 64<<10)
	edit := func(c *pipeline.CustomerConfig) {
		c.CommitBytes = limit
		c.Load = func(context.Context, pipeline.Controls) (*pipeline.Chain, error) {
			return &pipeline.Chain{Stages: []pipeline.Stage{hoard{}}}, nil
		}
	}
	ordinal := uint64(0)
	round := func(size int) {
		t.Helper()
		for i := range people {
			ordinal++
			r.appendProperties(ordinal, fmt.Sprintf("p%d", i), size)
		}
		stop, _ := r.worker(edit) // reads them from the bucket, or from the commits above the mark
		r.waitPosition(ordinal)
		stop()
	}
	for range rounds {
		round(1 << 10)
	}
	round(0)
	round(0)
	for _, m := range r.stored(topology.Commits, topology.Subject(topology.Commits, r.number)) {
		if len(m.Data) > limit+8<<10 { // one record beyond the cut, with its profile
			t.Errorf("commit %d has %d bytes, want about %d", m.Sequence, len(m.Data), limit)
		}
	}
	for id, p := range r.profiles() {
		if len(p.Traits) != rounds {
			t.Errorf("%s keeps %d traits, want %d", id, len(p.Traits), rounds)
		}
	}
}

// A record as large as the broker takes that is none of ours is parked, and its letter gets past the relay, whose base64 would
// make it larger than the broker takes: it is cut, and says so. What comes behind it goes on.
func TestTheLetterOfALargeRecordFits(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	r := smallRig(t, limit)
	record := bytes.Repeat([]byte("x"), limit-256)
	if _, err := r.js.Publish(t.Context(), topology.Subject(topology.Events, 0), record); err != nil {
		t.Fatal(err)
	}
	r.append(1, 0, "p", "view")
	stop, _ := r.worker(func(*pipeline.CustomerConfig) {})
	defer stop()
	defer r.relay()()
	r.waitPosition(2)
	var letters [][]byte
	eventually(t, "the letter is there", func() bool {
		letters = letters[:0]
		for _, m := range r.stored(topology.DeadLetter, topology.Subject(topology.DeadLetter, pipeline.ReaderCustomer)) {
			letters = append(letters, m.Data)
		}
		return len(letters) == 1
	})
	var letter pipeline.DeadLetter
	if err := json.Unmarshal(letters[0], &letter); err != nil {
		t.Fatal(err)
	}
	if letter.Reason != "undecodable" || len(letter.Payload) < limit/2 || !bytes.HasPrefix(record, letter.Payload) || !strings.Contains(letter.Error, "of its 65280 bytes the first") {
		t.Errorf("%s: %s, %d bytes", letter.Reason, letter.Error, len(letter.Payload))
	}
}
