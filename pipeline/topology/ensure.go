package topology

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// partitionsKey is the stream metadata that remembers the number of partitions.
const partitionsKey = "attune-partitions"

// Ensure creates every stream and bucket that is missing and updates the settings of the others. The number
// of partitions is fixed at creation: another one is refused. So is what would lose something at once: a shorter queue than
// what is in one, an age at which records of the log would go, fewer replicas.
func Ensure(ctx context.Context, js jetstream.JetStream, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	if err := ensureLog(ctx, js, c); err != nil {
		return err
	}
	if err := checkQueues(ctx, js, c.OutboxMessages); err != nil {
		return err
	}
	for _, s := range StreamConfigs(c) {
		if _, err := js.CreateOrUpdateStream(ctx, s); err != nil {
			return fmt.Errorf("create stream %s: %w", s.Name, err)
		}
	}
	for _, b := range BucketConfigs(c) {
		if _, err := js.CreateOrUpdateKeyValue(ctx, b); err != nil {
			return fmt.Errorf("create bucket %s: %w", b.Bucket, err)
		}
	}
	return nil
}

// checkQueues refuses a limit below what a queue holds: the broker would delete its oldest deliveries at once.
func checkQueues(ctx context.Context, js jetstream.JetStream, limit int64) error {
	stream, err := js.Stream(ctx, Outbox)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", Outbox, err)
	}
	if was := stream.CachedInfo().Config.MaxMsgsPerSubject; was > 0 && was <= limit {
		return nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(Outbox+".>"))
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", Outbox, err)
	}
	for subject, held := range info.State.Subjects {
		if held > uint64(limit) {
			return fmt.Errorf("outbox_messages: %d is configured, but the queue %s holds %d deliveries, of which the broker would delete the oldest: "+
				"give %d or more, or let them be delivered first", limit, subject, held, held)
		}
	}
	return nil
}

// ensureLog makes the log, of which one alone decides where several start for the first time, or checks the one that is there.
func ensureLog(ctx context.Context, js jetstream.JetStream, c Config) error {
	for _, s := range StreamConfigs(c) {
		if s.Name != Events {
			continue
		}
		if _, err := js.CreateStream(ctx, s); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("create stream %s: %w", s.Name, err)
		}
	}
	have, err := Partitions(ctx, js)
	if err != nil {
		return err
	}
	if have != c.Partitions {
		return fmt.Errorf("partitions: %d is configured, but these streams were created with %d, and the number is fixed at creation: set partitions: %d, or start with other streams", c.Partitions, have, have)
	}
	stream, err := js.Stream(ctx, Events)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", Events, err)
	}
	return c.spares(stream.CachedInfo(), time.Now())
}

// spares refuses what would take something from the log that is there, since a single worker with another file could do that
// to all.
func (c Config) spares(log *jetstream.StreamInfo, now time.Time) error {
	was, first := log.Config.MaxAge, log.State.FirstTime
	if (was == 0 || c.EventsAge < was) && log.State.Msgs > 0 && first.Before(now.Add(-c.EventsAge)) {
		return fmt.Errorf("events_age: %s is configured, but the log is kept for %s, and has records since %s which would be deleted: set events_age: %s, "+
			"or, to delete them, lower the age by hand first (nats stream edit %s --max-age=%s)", c.EventsAge, was, first.UTC().Format(time.RFC3339), was, Events, c.EventsAge)
	}
	if had := log.Config.Replicas; c.Replicas < had {
		return fmt.Errorf("replicas: %d is configured, but the log has %d: set replicas: %d, or, to have fewer, lower it by hand first (nats stream edit %s --replicas=%d), "+
			"and the others follow at the next start", c.Replicas, had, had, Events, c.Replicas)
	}
	return nil
}

// Partitions is the number of partitions that the existing streams were created with. Its error wraps
// jetstream.ErrStreamNotFound where there is none yet.
func Partitions(ctx context.Context, js jetstream.JetStream) (int, error) {
	stream, err := js.Stream(ctx, Events)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", Events, err)
	}
	n, err := strconv.Atoi(stream.CachedInfo().Config.Metadata[partitionsKey])
	if err != nil {
		return 0, fmt.Errorf("stream %s has no %s in its metadata: it was not created by Attune", Events, partitionsKey)
	}
	return n, nil
}
