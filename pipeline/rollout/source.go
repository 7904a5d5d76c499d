package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

const (
	readBatch = 256
	// silence is how long nothing may come before it is looked up whether anything is left.
	silence = time.Second
	// restAtMost is how long a reader may rest, while the log is full or at a low rate, before its consumer is gone.
	restAtMost = 10 * time.Minute
)

// read hands the messages of a stream to visit, in order, up to the sequence upTo; 0: until the latest message of each
// subject was visited, in a stream that is written meanwhile.
func (d *drive) read(ctx context.Context, stream string, config jetstream.ConsumerConfig, upTo uint64, visit func(bus.Delivery) error) error {
	js := d.r.config.JetStream
	config.AckPolicy, config.MemoryStorage, config.InactiveThreshold = jetstream.AckNonePolicy, true, restAtMost
	consumer, err := js.CreateConsumer(ctx, stream, config)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	name := consumer.CachedInfo().Name
	defer bus.Discard(ctx, js, stream, name)
	reach := stretch{at: consumer.CachedInfo().Delivered.Stream, to: upTo}
	// A consumer knows what its node knows, which may lag; and what was sent to a connection that broke is no more pending.
	left := func() (bool, error) {
		next, err := bus.NextAtLeader(ctx, js.Conn(), stream, config.FilterSubject, reach.at+1)
		return next > 0 && (upTo == 0 || next <= upTo), err
	}
	if some, err := left(); err != nil || !some {
		return err
	}
	puller, err := bus.NewPuller(js.Conn(), stream, name, readBatch)
	if err != nil {
		return err
	}
	defer puller.Close()
	for {
		wait, cancel := context.WithTimeout(ctx, silence)
		batch, err := puller.Next(wait, readBatch)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			if some, err := left(); err != nil || !some {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", stream, err)
		}
		for _, one := range batch {
			if upTo > 0 && one.Sequence > upTo {
				return nil
			}
			if err := visit(one); err != nil {
				return err
			}
			reach.saw(one.Sequence)
		}
		switch {
		case !reach.ended():
			continue
		case upTo > 0 || reach.whole:
			return nil
		}
		end, err := d.newest(ctx, stream)
		if err != nil {
			return err
		}
		if reach = reach.next(end); reach.ended() {
			return nil
		}
	}
}

// stretch is a part of a stream that is read while it is written, up to what was the newest message when it began. Who has
// seen all of it, and what was there before it, has seen the latest message of each subject as of its beginning. One that is
// missing was replaced, before or after that, and what replaced it may come behind the end: then another stretch is to be
// read. It ends because a reader is faster than what writes: the stretches become so short that nothing in them is written twice.
type stretch struct {
	at, to uint64
	whole  bool // nothing was missing yet
}

// next is the stretch from here to the newest message.
func (s stretch) next(newest uint64) stretch { return stretch{at: s.at, to: newest, whole: true} }

// saw notes the next message.
func (s *stretch) saw(sequence uint64) {
	if sequence != s.at+1 && s.at < s.to {
		s.whole = false
	}
	s.at = sequence
}

func (s *stretch) ended() bool { return s.at >= s.to }

// newest is the last sequence of a stream.
func (d *drive) newest(ctx context.Context, stream string) (uint64, error) {
	s, err := d.r.config.JetStream.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", stream, err)
	}
	return s.CachedInfo().State.LastSeq, nil
}

// profiles visits every profile that existed when all partitions had taken the control record of the kind and version:
// those that are not folded yet as the commits have them, then the others as the bucket has them. One that changes meanwhile
// may be visited more than once.
func (d *drive) profiles(ctx context.Context, kind string, version uint64, visit func(*profile.Profile) error) error {
	visited := map[string]bool{} // of the commits: as many as are not folded
	for p := range d.r.config.Partitions {
		mark, last, err := d.taken(ctx, p, kind, version)
		if err != nil {
			return err
		}
		if mark >= last {
			continue
		}
		tail := map[string][]byte{}
		var order []string
		err = d.read(ctx, topology.Commits, jetstream.ConsumerConfig{
			FilterSubject: topology.Subject(topology.Commits, p), DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: mark + 1,
		}, last, func(one bus.Delivery) error {
			commit, err := d.r.commits.Decode(one.Data)
			if err != nil {
				return fmt.Errorf("commit %d: %w", one.Sequence, err)
			}
			for _, s := range commit.Profiles {
				if tail[s.ID] == nil {
					order = append(order, s.ID)
				}
				tail[s.ID] = s.State
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range order {
			if err := d.visit(tail[id], visit); err != nil {
				return err
			}
			visited[id] = true
		}
	}
	return d.read(ctx, "KV_"+topology.Profiles, jetstream.ConsumerConfig{
		FilterSubject: "$KV." + topology.Profiles + ".>", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	}, 0, func(one bus.Delivery) error {
		d.progress.Done++
		if visited[strings.TrimPrefix(one.Subject, "$KV."+topology.Profiles+".")] {
			return nil
		}
		return d.visit(one.Data, visit)
	})
}

func (d *drive) visit(state []byte, visit func(*profile.Profile) error) error {
	if len(state) == 0 {
		return nil // deleted
	}
	p, err := profile.Decode(state)
	if err != nil {
		return fmt.Errorf("read profiles: %w", err)
	}
	if p.Into != "" {
		return nil // it goes on in another one
	}
	return visit(p)
}

// taken waits until a partition has committed the control record. It returns the sequence of its newest commit, and the
// mark that this one states.
func (d *drive) taken(ctx context.Context, partition int, kind string, version uint64) (mark, last uint64, err error) {
	stream, err := d.r.config.JetStream.Stream(ctx, topology.Commits)
	if err != nil {
		return 0, 0, fmt.Errorf("look up %s: %w", topology.Commits, err)
	}
	for {
		m, err := stream.GetLastMsgForSubject(ctx, topology.Subject(topology.Commits, partition))
		if err == nil {
			commit, err := d.r.commits.Decode(m.Data)
			if err != nil {
				return 0, 0, err
			}
			if commit.Controls[kind].Version >= version {
				return commit.Mark, m.Sequence, nil
			}
		} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, 0, fmt.Errorf("read the newest commit of partition %d: %w", partition, err)
		}
		if err := d.goOn(ctx); err != nil {
			return 0, 0, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}
