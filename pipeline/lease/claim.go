package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// sharing is one lease's work: to keep a picture of the bucket and act on it. Another lease begins with another
// picture, since others may have taken over in between; so does a claim that came to nothing, and a silent watch.
type sharing struct {
	w       *Worker
	lease   int // its number
	wave    *bus.Wave
	picture *Picture
	owners  map[Topic]string // the shares, as of the picture's members; nil: to be worked out anew
	heard   time.Time        // when the watch brought the newest heartbeat of our own
}

// change is a claim to be written, if the key still has the revision.
type change struct {
	topic    Topic
	worker   string // empty: given back
	revision uint64
	from     string // the dead or stubborn worker that it is taken from
}

// errReread asks for a new picture.
var errReread = errors.New("the picture is out of date")

func (w *Worker) keepSharing(ctx context.Context) {
	for {
		lease, open := w.nextLease()
		if !open {
			return
		}
		err := w.share(ctx, lease)
		if err == nil {
			return
		}
		pause := beatEvery / 10
		if !errors.Is(err, errReread) {
			pause = beatEvery
			w.config.Log.Warn("sharing out topics, trying again", "worker", w.member.ID, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-w.closing:
			return
		}
	}
}

// nextLease waits until the lease is held.
func (w *Worker) nextLease() (lease int, open bool) {
	for {
		w.mu.Lock()
		lease = w.lease()
		w.mu.Unlock()
		if lease != 0 {
			return lease, true
		}
		select {
		case <-w.changed:
		case <-w.closing:
			return 0, false
		}
	}
}

// share watches the bucket and acts on what it says, until the worker closes (nil) or it must be read anew.
func (w *Worker) share(ctx context.Context, lease int) error {
	wave, err := bus.NewWave(w.config.JetStream.Conn())
	if err != nil {
		return err
	}
	defer wave.Close()
	watch, err := w.bucket.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", topology.Leases, err)
	}
	defer func() { _ = watch.Stop() }() // it fails only without a connection, and then it is stopped too
	s := &sharing{w: w, lease: lease, wave: wave, picture: newPicture(), heard: time.Now()}
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for whole := (present{}); ; { // as soon as the picture has come up to it
		closing := false
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if entry != nil {
				s.note(entry)
			} else if whole, err = lookUp(ctx, w.config.JetStream); err != nil {
				return err
			}
			s.picture.live = s.picture.live || whole.revision > 0 && s.picture.revision >= whole.revision
		case <-w.changed:
		case <-tick.C:
			if since(s.heard) > 2*TTL {
				return errors.New("the watch is silent")
			}
		case <-w.closing:
			closing = true
		}
		if s.picture.live {
			if err := s.act(ctx); err != nil {
				return err
			}
		}
		if closing {
			return nil
		}
	}
}

func (s *sharing) note(entry jetstream.KeyValueEntry) {
	if s.picture.note(entry) {
		s.owners = nil
	}
	if entry.Key() == memberPrefix+s.w.member.ID {
		s.heard = time.Now()
	}
}

// act brings grants and claims in line with the picture.
func (s *sharing) act(ctx context.Context) error {
	if s.owners == nil {
		s.divide()
	}
	s.bury(ctx)
	changes, err := s.decide()
	if err != nil || len(changes) == 0 {
		return err
	}
	if err := s.write(ctx, changes); err != nil {
		return err
	}
	_, err = s.decide()
	return err
}

// bury takes away the heartbeats that the broker has not dropped. It need not succeed.
func (s *sharing) bury(ctx context.Context) {
	for id, b := range s.picture.graves() {
		delete(s.picture.beats, id) // once is enough
		ctx, cancel := context.WithTimeout(ctx, TTL)
		err := s.w.bucket.Purge(ctx, memberPrefix+id, jetstream.LastRevision(b.revision), jetstream.PurgeTTL(5*TTL))
		cancel()
		if err != nil {
			s.w.config.Log.Debug("take a dead worker's heartbeat away", "worker", id, "error", err)
		}
	}
}

func (s *sharing) divide() {
	s.owners = map[Topic]string{}
	for _, c := range s.w.config.Chains {
		for name, id := range s.picture.shares(c.Name) {
			s.owners[Topic{c.Name, name}] = id
		}
	}
	s.w.config.Log.Debug("topics shared out", "workers", len(s.picture.Members))
}

// decide grants what is this worker's and claimed, revokes what is not, and returns the claims to be written.
func (s *sharing) decide() ([]change, error) {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lease() != s.lease {
		return nil, errReread
	}
	var changes []change
	owned := map[string]int{}
	for topic, u := range w.units {
		claim := s.picture.Claims[topic]
		assigned := s.owners[topic] == w.member.ID && !w.leaving
		claimed := claim.Worker == w.member.ID
		_, other := s.picture.Members[claim.Worker] // lives and holds it
		if !assigned || claimed || !other {
			u.waiting = time.Time{}
		}
		switch {
		case assigned && claimed:
			u.grant()
			owned[topic.Chain]++
		case assigned && u.overdue(other):
			changes = append(changes, change{topic, w.member.ID, claim.revision, claim.Worker})
		case claimed && len(u.holds) == 0:
			changes = append(changes, change{topic, "", claim.revision, ""})
		}
		switch {
		case !claimed:
			u.revoke(ErrLost)
		case !assigned:
			u.revoke(ErrHandedOver)
		}
	}
	w.metrics.own(owned)
	return changes, nil
}

// overdue tells whether a topic that is assigned may be taken: nobody who lives holds it, or for too long.
func (u *unit) overdue(held bool) bool {
	if !held {
		return true
	}
	if u.waiting.IsZero() {
		u.waiting = time.Now()
	}
	return since(u.waiting) > patience
}

// write stores the claims by compare-and-set, all in one wave.
func (s *sharing) write(ctx context.Context, changes []change) error {
	ctx, cancel := context.WithTimeout(ctx, TTL)
	defer cancel()
	for _, c := range changes {
		m := &nats.Msg{Subject: "$KV." + topology.Leases + "." + c.topic.key(), Data: []byte(c.worker), Header: nats.Header{
			jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(c.revision, 10)},
		}}
		if c.worker == "" {
			m.Header.Set("KV-Operation", "DEL")
		}
		if _, err := s.wave.Publish(m); err != nil {
			_, _ = s.wave.Wait(ctx) // end the round; the first error says what matters
			return fmt.Errorf("claim: %w", err)
		}
	}
	acks, _ := s.wave.Wait(ctx) // each answer is looked at below
	var failed error
	for i, a := range acks {
		c := changes[i]
		switch {
		case a.Err == nil:
			s.picture.Claims[c.topic] = Claim{Worker: c.worker, Since: time.Now(), revision: a.Sequence}
			if c.from != "" {
				s.w.metrics.takeovers.WithLabelValues(c.topic.Chain).Inc()
				s.w.config.Log.Info("topic taken over", "chain", c.topic.Chain, "topic", c.topic.Name, "from", c.from)
			}
		case bus.IsConflict(a.Err):
			failed = errors.Join(failed, errReread)
		default:
			failed = errors.Join(failed, fmt.Errorf("claim %s of %s: %w", c.topic.Name, c.topic.Chain, a.Err))
		}
	}
	return failed
}
