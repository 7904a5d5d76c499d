package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/lease"
	"attune/pipeline/rollout"
	"attune/pipeline/topology"
	"attune/pipeline/wake"
)

// survey is what `attune status` tells, and the form of its JSON.
type survey struct {
	At             time.Time       `json:"at"`
	Workers        []workerStatus  `json:"workers"`
	Readers        []*readerStatus `json:"readers"`
	DeadLetters    uint64          `json:"dead_letters"`
	WakeUpsPending uint64          `json:"wake_ups_pending"`
	// Rollout is how far the newest change of definitions is; nil: all are in force.
	Rollout *rollout.Progress `json:"rollout,omitempty"`
	Alarms  []string          `json:"alarms"` // what somebody should look at
}

type workerStatus struct {
	ID      string              `json:"id"`
	Host    string              `json:"host"`
	PID     int                 `json:"pid"`
	Listen  string              `json:"listen"`
	Started time.Time           `json:"started"`
	Leaving bool                `json:"leaving"`
	Owns    map[string][]string `json:"owns"` // topics by each part that it runs
}

// readerStatus is one reader of one topic.
type readerStatus struct {
	Chain  string  `json:"chain"`
	Topic  string  `json:"topic"` // a partition, a destination, or the sink's name
	Reader string  `json:"reader"`
	Owner  string  `json:"owner"` // a worker's id; empty: nobody
	Lag    uint64  `json:"lag"`   // messages it is not done with yet
	Rate   float64 `json:"per_second"`
	Oldest float64 `json:"oldest_seconds"` // how long the oldest of them has been waiting
	// Tail is how many commits a takeover would have to read, because their profiles are not folded yet; of the
	// customer chain only.
	Tail uint64 `json:"tail_commits"`

	stream, subject string
	durable         string
}

const (
	// sampleApart is how long throughput is looked at.
	sampleApart = time.Second
	// rawAlarm is how long a call, which holds personal fields, may wait in RAW without anyone looking.
	rawAlarm = 24 * time.Hour
	// rolloutAlarm is how long a rollout may say nothing.
	rolloutAlarm = 30 * time.Second
)

// position is where a consumer stood at a moment.
type position struct {
	info *jetstream.ConsumerInfo
	at   time.Time
}

// takeSurvey asks the broker, twice for the rates.
func takeSurvey(ctx context.Context, js jetstream.JetStream) (*survey, error) {
	partitions, err := topology.Partitions(ctx, js)
	if err != nil {
		return nil, err
	}
	picture, err := lease.Look(ctx, js)
	if err != nil {
		return nil, err
	}
	s := &survey{Workers: []workerStatus{}, Alarms: []string{}}
	s.lookAtWorkers(picture)
	if err := s.listReaders(ctx, js, picture, partitions); err != nil {
		return nil, err
	}
	before, err := positions(ctx, js)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(sampleApart):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := positions(ctx, js)
	if err != nil {
		return nil, err
	}
	s.At = time.Now().UTC()
	for _, r := range s.Readers {
		if err := r.measure(ctx, js, before[r.durable], after[r.durable]); err != nil {
			return nil, err
		}
	}
	if err := s.count(ctx, js); err != nil {
		return nil, err
	}
	progress, err := rollout.Look(ctx, js)
	if err != nil {
		return nil, err
	}
	if progress.Version > 0 && progress.Phase != rollout.Done {
		s.Rollout = &progress
	}
	s.raise(picture)
	return s, nil
}

func (s *survey) lookAtWorkers(picture *lease.Picture) {
	for _, m := range picture.Workers() {
		w := workerStatus{ID: m.ID, Host: m.Host, PID: m.PID, Listen: m.Listen, Started: m.Started, Leaving: m.Leaving, Owns: map[string][]string{}}
		for chain, topics := range m.Chains {
			w.Owns[chain] = []string{}
			for _, topic := range topics {
				if picture.Claims[lease.Topic{Chain: chain, Name: topic}].Worker == m.ID {
					w.Owns[chain] = append(w.Owns[chain], topic)
				}
			}
		}
		s.Workers = append(s.Workers, w)
	}
}

// listReaders is everyone who should read something, whether or not somebody does.
func (s *survey) listReaders(ctx context.Context, js jetstream.JetStream, picture *lease.Picture, partitions int) error {
	add := func(chain, topic, reader, stream, subject, durable string) {
		holder, _ := picture.Holder(lease.Topic{Chain: chain, Name: topic})
		s.Readers = append(s.Readers, &readerStatus{Chain: chain, Topic: topic, Reader: reader, Owner: holder.ID, stream: stream, subject: subject, durable: durable})
	}
	for p := range partitions {
		n := strconv.Itoa(p)
		add(pipeline.ReaderNormalize, n, pipeline.ReaderNormalize, topology.Raw, topology.Subject(topology.Raw, p), topology.Durable(pipeline.ReaderNormalize, p))
		add(pipeline.ReaderCustomer, n, pipeline.ReaderCustomer, topology.Events, topology.Subject(topology.Events, p), topology.Durable(pipeline.ReaderCustomer, p))
		add(pipeline.ReaderCustomer, n, pipeline.ReaderRelay, topology.Commits, topology.Subject(topology.Commits, p), topology.Durable(pipeline.ReaderRelay, p))
		add(pipeline.ReaderCustomer, n, wake.Reader, topology.Wakeups, topology.DueSubject(p), topology.Durable(wake.Reader, p))
	}
	queues, err := subjects(ctx, js, topology.Outbox, topology.Outbox+".*")
	if err != nil {
		return err
	}
	destinations := map[string]bool{} // those that something waits for, and those that somebody serves
	for subject := range queues {
		destinations[strings.TrimPrefix(subject, topology.Outbox+".")] = true
	}
	for _, m := range picture.Members {
		for _, name := range m.Chains[pipeline.ReaderDeliver] {
			destinations[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(destinations)) {
		add(pipeline.ReaderDeliver, name, pipeline.ReaderDeliver, topology.Outbox, topology.Subject(topology.Outbox, name), topology.Durable(pipeline.ReaderDeliver, name))
	}
	add(partSink, pipeline.ReaderClickHouse, pipeline.ReaderClickHouse, topology.Commits, topology.Commits+".*", pipeline.ReaderClickHouse)
	return nil
}

// subjects are the messages of a stream by subject.
func subjects(ctx context.Context, js jetstream.JetStream, name, filter string) (map[string]uint64, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return info.State.Subjects, nil
}

// positions are where the consumers stand, by name.
func positions(ctx context.Context, js jetstream.JetStream) (map[string]position, error) {
	all := map[string]position{}
	for _, name := range readStreams() {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("look up stream %s: %w", name, err)
		}
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			all[info.Name] = position{info, time.Now()}
		}
		if err := consumers.Err(); err != nil {
			return nil, fmt.Errorf("list consumers of %s: %w", name, err)
		}
	}
	return all, nil
}

// measure fills in what the reader has still to do and what it did meanwhile.
func (r *readerStatus) measure(ctx context.Context, js jetstream.JetStream, before, after position) error {
	stream, err := js.Stream(ctx, r.stream)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", r.stream, err)
	}
	next := uint64(1)
	if after.info != nil {
		next = max(after.info.AckFloor.Stream+1, after.info.Config.OptStartSeq)
		r.Lag = after.info.NumPending + uint64(after.info.NumAckPending)
		done := after.info.AckFloor.Consumer
		since := after.info.Created
		if before.info != nil && before.info.Created.Equal(after.info.Created) {
			done -= min(done, before.info.AckFloor.Consumer)
			since = before.at
		}
		r.Rate = float64(done) / max(after.at.Sub(since), sampleApart).Seconds()
	}
	if after.info == nil || r.Reader == pipeline.ReaderDeliver { // nobody has ever read it, or some of what was read waits
		next = 1
		if r.Lag, err = held(ctx, js, r.stream, r.subject); err != nil {
			return err
		}
	}
	if r.Lag > 0 {
		oldest, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(r.subject))
		switch {
		case err == nil:
			r.Oldest = max(time.Since(oldest.Time).Seconds(), 0)
		case !errors.Is(err, jetstream.ErrMsgNotFound): // it has just been done
			return fmt.Errorf("read the oldest message of %s: %w", r.subject, err)
		}
	}
	if r.Reader == pipeline.ReaderCustomer {
		if r.Tail, err = tail(ctx, js, topology.Subject(topology.Commits, r.Topic)); err != nil {
			return fmt.Errorf("count the unfolded commits of partition %s: %w", r.Topic, err)
		}
	}
	return nil
}

// held is the number of messages under a subject.
func held(ctx context.Context, js jetstream.JetStream, stream, subject string) (n uint64, err error) {
	all, err := subjects(ctx, js, stream, subject)
	for _, count := range all {
		n += count
	}
	return n, err
}

// tail is the number of commits above the mark of a partition's last one. The broker counts them for a consumer
// that reads none.
func tail(ctx context.Context, js jetstream.JetStream, subject string) (uint64, error) {
	stream, err := js.Stream(ctx, topology.Commits)
	if err != nil {
		return 0, err
	}
	last, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		return 0, err
	}
	commit, err := codec.Decode(last.Data)
	if err != nil {
		return 0, err
	}
	counter, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: commit.Mark + 1,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 5 * time.Second,
	})
	if err != nil {
		return 0, err
	}
	info := counter.CachedInfo()
	return info.NumPending, stream.DeleteConsumer(ctx, info.Name)
}

// count is what nobody reads: dead letters, and wake-ups before they are due.
func (s *survey) count(ctx context.Context, js jetstream.JetStream) error {
	dead, err := js.Stream(ctx, topology.DeadLetter)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", topology.DeadLetter, err)
	}
	s.DeadLetters = dead.CachedInfo().State.Msgs
	wakes, err := js.Stream(ctx, topology.Wakeups)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", topology.Wakeups, err)
	}
	due, err := held(ctx, js, topology.Wakeups, topology.Wakeups+".due.*") // by subject: schedules are too many for that
	if err != nil {
		return err
	}
	s.WakeUpsPending = wakes.CachedInfo().State.Msgs - min(due, wakes.CachedInfo().State.Msgs)
	return nil
}

// raise says what somebody should look at.
func (s *survey) raise(picture *lease.Picture) {
	runs := map[string]bool{}
	for _, m := range picture.Members {
		for chain := range m.Chains {
			runs[chain] = true
		}
	}
	for _, p := range parts() {
		if !runs[p.name] && p.name != partIngest { // producers may publish straight to NATS
			s.Alarms = append(s.Alarms, fmt.Sprintf("no worker runs %s: start one, with attune run or attune run --only %s", p.name, p.name))
		}
	}
	switch p := s.Rollout; {
	case p == nil:
	case !p.Failing.IsZero() && s.At.Sub(p.Failing) > rolloutAlarm:
		s.Alarms = append(s.Alarms, fmt.Sprintf("the rollout of staged version %d has failed again and again for %s: %s", p.Version, elapsed(s.At.Sub(p.Failing)), p.Failure))
	case s.At.Sub(p.Updated) > rolloutAlarm:
		s.Alarms = append(s.Alarms, fmt.Sprintf("the rollout of staged version %d has stood still for %s (%s): see what the worker that runs it logs",
			p.Version, elapsed(s.At.Sub(p.Updated)), progressLine(*p)))
	}
	for _, r := range s.Readers {
		if waits := time.Duration(r.Oldest * float64(time.Second)); r.stream == topology.Raw && waits > rawAlarm {
			s.Alarms = append(s.Alarms, fmt.Sprintf(
				"a call has been waiting in %s for %s, and it may hold personal fields, which leave RAW only once it is normalized: see what the worker that owns normalize %s logs",
				r.subject, waits.Round(time.Minute), r.Topic))
		}
	}
}
