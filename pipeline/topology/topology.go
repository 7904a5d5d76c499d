// Package topology holds, as data, every stream, subject and bucket that Attune uses, and creates what is
// missing. Nothing else in Attune spells a subject.
//
// # Every queue has a bound
//
// A stream that is full refuses, and whoever wanted to append to it waits or says so; nothing unread is ever dropped.
// Backpressure runs from the end to the producer, and has no circle: the relay waits for no stream that waits for it.
//
//	queue                     bound                          when it is full
//	requests to ingest        ingest.max_in_flight, and      429 with Retry-After
//	                          ingest.max_in_flight_bytes
//	appends to RAW            64 waves at a time             further ones wait, up to ingest.append_timeout: 503
//	RAW                       raw_bytes                      refuses: ingest answers 503; who publishes straight to
//	                                                         attune.events.* gets the broker's refusal
//	EVENTS (kept by age)      events_lag records unread in   normalize pauses before its next batch; RAW fills
//	                          any partition
//	COMMITS (purged once all  commits_bytes                  the customer chain pauses before its next batch; EVENTS
//	readers have passed)                                     lags. Claims and marks go on
//	OUTBOX.<destination>      outbox_messages each           the relay drops the delivery: a record and an event,
//	                                                         dropped, queue_full; others go on
//	deliveries that wait for  10,000 of each queue, in     the queue rests until fewer wait: the destination takes
//	another attempt           their places                 hardly any
//	WAKE                      none: one schedule a profile   a limit would drop timers; watch attune_stream_bytes
//	                          and claim
//	DEADLETTER                dead_letter_bytes, 14 days     refuses: what would park waits, and so does its partition
//	prefetched records        two batches a partition, of    the broker keeps the rest
//	                          500 messages or half a MiB;
//	                          of RAW 1 MiB, a sink's 2 MiB
//	commits under way         one a partition, and one more  the chain waits
//	                          being computed
//	unfolded profiles         as many as clean ones, 50,000  the chain waits before its next batch and asks for a
//	                          a partition                    round of folding
//	a sink's batch            batch_rows or 32 MiB           the reader waits: COMMITS keeps the rest
//	mails being sent          4 a destination                the queue waits
//	caught mails (dev)        the newest 1,000               the oldest go
package topology

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Streams.
const (
	Raw        = "RAW"        // calls as they came, until they are normalized
	Events     = "EVENTS"     // the log: one ordered subject per partition
	Commits    = "COMMITS"    // what the customer chain committed, one subject per partition
	Trails     = "TRAIL"      // what a replay compares with when the commits are purged, one subject per partition
	Outbox     = "OUTBOX"     // deliveries to be made, one subject per destination
	Wakeups    = "WAKE"       // scheduled wake-ups and the due ones on their way to the log
	DeadLetter = "DEADLETTER" // what could not be used, with its reason
	Duplicates = "DUPLICATES" // which call owns an event id, one message for a batch of calls
)

// Buckets.
const (
	Profiles   = "profiles"   // each customer's state, folded from the commits
	Identities = "identities" // keyed hash of a user or anonymous id to profile
	Vault      = "vault"      // personal fields by profile
	Deliveries = "deliveries" // one record per decision that is being or was delivered
	Objects    = "objects"    // immutable objects by hash: definitions and models
	Controls   = "controls"   // the newest version of each kind of control record, and the catalogue of models
	Journal    = "journal"    // the batch that each sink is about to write, and how far each relay has come
	Leases     = "leases"     // the heartbeat of each worker, and who holds which topic
)

// IngestSubject is where producers may publish calls straight to NATS: attune.events.<key>.
const IngestSubject = "attune.events"

// Config is what can be chosen about the topology.
type Config struct {
	// Partitions is the number of ordered logs, fixed when the streams are created. 1 to 256, default 8.
	Partitions int `yaml:"partitions"`
	// Replicas of every stream and bucket: 1 (default), 3 or 5.
	Replicas int `yaml:"replicas"`
	// EventsAge is how long the log is kept. Default 2160h (90 days).
	EventsAge time.Duration `yaml:"events_age"`
	// DeadLetterAge is how long dead letters are kept; they hold personal fields. At most and by default 336h (14 days).
	DeadLetterAge time.Duration `yaml:"dead_letter_age"`
	// DuplicatesAge is how long an event id is remembered, at least; at most an eighth longer. Each process that
	// normalizes keeps 32 to 64 bytes for each of these ids in memory. Default 720h (30 days).
	DuplicatesAge time.Duration `yaml:"duplicates_age"`
	// RawBytes bounds RAW: a full stream refuses, and ingest answers 503. Default 4 GiB.
	RawBytes int64 `yaml:"raw_bytes"`
	// EventsLag is how many records of one partition of the log may wait for the customer chain before normalizing
	// pauses, and RAW fills. Default 1000000.
	EventsLag uint64 `yaml:"events_lag"`
	// CommitsBytes is how much of COMMITS may wait for its readers (the database's sink, the relay) before the customer
	// chain pauses, and the log fills. Default 8 GiB.
	CommitsBytes uint64 `yaml:"commits_bytes"`
	// OutboxMessages bounds each destination's queue of deliveries: what finds no room is dropped, with the reason
	// queue_full, and no other destination waits. Default 1000000.
	OutboxMessages int64 `yaml:"outbox_messages"`
	// DeadLetterBytes bounds the dead letters: a full stream refuses, and what would add to them waits until letters are
	// replayed, deleted or too old. Default 4 GiB.
	DeadLetterBytes int64 `yaml:"dead_letter_bytes"`
}

// DefaultConfig is what a laptop needs.
func DefaultConfig() Config {
	return Config{
		Partitions: 8, Replicas: 1,
		EventsAge: 90 * 24 * time.Hour, DeadLetterAge: 14 * 24 * time.Hour, DuplicatesAge: 30 * 24 * time.Hour,
		RawBytes: 4 << 30, EventsLag: 1_000_000, CommitsBytes: 8 << 30, OutboxMessages: 1_000_000, DeadLetterBytes: 4 << 30,
	}
}

// Validate says what is wrong with a configuration and what would be right.
func (c Config) Validate() error {
	switch {
	case c.Partitions < 1 || c.Partitions > 256:
		return fmt.Errorf("partitions: %d is out of range: give 1 to 256", c.Partitions)
	case c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5:
		return fmt.Errorf("replicas: %d: give 1, 3 or 5", c.Replicas)
	case c.EventsAge < time.Hour:
		return fmt.Errorf("events_age: %s is too short: give 1h or more", c.EventsAge)
	case c.DeadLetterAge <= 0 || c.DeadLetterAge > 14*24*time.Hour:
		return fmt.Errorf("dead_letter_age: %s: dead letters hold personal fields: give more than 0 and at most 336h (14 days)", c.DeadLetterAge)
	case c.DuplicatesAge < time.Minute:
		return fmt.Errorf("duplicates_age: %s is too short: give 1m or more", c.DuplicatesAge)
	case c.RawBytes < 1<<20:
		return fmt.Errorf("raw_bytes: %d is too small: give 1048576 (1 MiB) or more", c.RawBytes)
	case c.EventsLag < 1000:
		return fmt.Errorf("events_lag: %d is too small: give 1000 or more", c.EventsLag)
	case c.CommitsBytes < 16<<20:
		return fmt.Errorf("commits_bytes: %d is too small: give 16777216 (16 MiB) or more", c.CommitsBytes)
	case c.OutboxMessages < 1:
		return fmt.Errorf("outbox_messages: %d is too small: give 1 or more", c.OutboxMessages)
	case c.DeadLetterBytes < 1<<20:
		return fmt.Errorf("dead_letter_bytes: %d is too small: give 1048576 (1 MiB) or more", c.DeadLetterBytes)
	}
	return nil
}

// Partition is where a key's records go: the same for the same key, in every process and language
// (32-bit FNV-1a modulo n, as the broker's own partition() computes it).
func Partition(key string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}

// Subject is a stream's subject of one partition or destination: EVENTS.3, OUTBOX.mail.
func Subject(stream string, token any) string { return fmt.Sprintf("%s.%v", stream, token) }

// PartitionOf reads the partition out of a subject such as EVENTS.3.
func PartitionOf(subject string) (int, error) {
	_, last, ok := strings.Cut(subject, ".")
	p, err := strconv.Atoi(last)
	if !ok || err != nil || p < 0 {
		return 0, fmt.Errorf("subject %q names no partition", subject)
	}
	return p, nil
}

// ScheduleSubject holds one profile's wake-up; the owner's epoch keeps a former owner's apart.
func ScheduleSubject(partition int, epoch uint64, profile string) string {
	return fmt.Sprintf("%s.at.%d.%d.%s", Wakeups, partition, epoch, profile)
}

// DueSubject is where the broker puts a partition's due wake-ups.
func DueSubject(partition int) string { return fmt.Sprintf("%s.due.%d", Wakeups, partition) }

// Generation tells a stream from one of the same name that was made anew, whose sequences begin again.
func Generation(stream *jetstream.StreamInfo) string {
	return strconv.FormatInt(stream.Created.UnixMicro(), 36)
}

// Durable is the fixed name of a reader's consumer, for operators and autoscalers.
func Durable(reader string, token any) string { return fmt.Sprintf("%s-%v", reader, token) }

// StreamConfigs are the streams for a configuration.
func StreamConfigs(c Config) []jetstream.StreamConfig {
	base := func(name, description string, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Description: description, Subjects: subjects, Replicas: c.Replicas,
			Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, AllowDirect: true,
		}
	}
	raw := base(Raw, "calls as they came, until they are normalized", Raw+".*", IngestSubject+".*")
	raw.MaxBytes = c.RawBytes
	raw.SubjectTransform = &jetstream.SubjectTransformConfig{
		Source:      IngestSubject + ".*",
		Destination: fmt.Sprintf("%s.{{partition(%d,1)}}", Raw, c.Partitions),
	}
	events := base(Events, "the log, one subject per partition", Events+".*")
	events.MaxAge = c.EventsAge
	events.Metadata = map[string]string{partitionsKey: strconv.Itoa(c.Partitions)}
	commits := base(Commits, "commits of the customer chain, one subject per partition", Commits+".*")
	trails := base(Trails, "what the commits stated, in short, for replays", Trails+".*")
	trails.MaxAge = c.EventsAge
	outbox := base(Outbox, "deliveries to be made, one subject per destination", Outbox+".*")
	outbox.MaxMsgsPerSubject, outbox.DiscardNewPerSubject = c.OutboxMessages, true
	wake := base(Wakeups, "scheduled and due wake-ups", Wakeups+".at.>", Wakeups+".due.*")
	wake.Discard = jetstream.DiscardOld // schedules need it; the stream has no limit, so nothing is dropped
	wake.AllowMsgSchedules = true
	wake.AllowMsgTTL = true
	wake.AllowRollup = true
	dead := base(DeadLetter, "what could not be used, with its reason", DeadLetter+".*")
	dead.MaxAge, dead.MaxBytes = c.DeadLetterAge, c.DeadLetterBytes
	dead.AllowMsgTTL = true // a letter that comes back keeps its first one's end
	duplicates := base(Duplicates, "which call owns an event id", Duplicates)
	duplicates.MaxAge = c.DuplicatesAge + c.DuplicatesAge/8 // it outlives each reader's index, which forgets by eighths
	duplicates.AllowDirect = false                          // what a replica does not have yet would pass for forgotten
	return []jetstream.StreamConfig{raw, events, commits, trails, outbox, wake, dead, duplicates}
}

// deliveriesAge is longer than a delivery may wait: its record is what keeps a mail from being sent twice.
const deliveriesAge = 40 * 24 * time.Hour

// markerAge is how long the broker remembers that a heartbeat expired: it tells those who watch.
const markerAge = 10 * time.Second

// BucketConfigs are the buckets for a configuration.
func BucketConfigs(c Config) []jetstream.KeyValueConfig {
	base := func(name, description string) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{Bucket: name, Description: description, Replicas: c.Replicas, Storage: jetstream.FileStorage, History: 1}
	}
	deliveries := base(Deliveries, "one record per delivery")
	deliveries.TTL = max(c.EventsAge, deliveriesAge)
	leases := base(Leases, "workers' heartbeats and claims")
	leases.LimitMarkerTTL = markerAge
	return []jetstream.KeyValueConfig{
		base(Profiles, "customers' state, folded from the commits"),
		base(Identities, "ids to profiles"),
		base(Vault, "personal fields"),
		deliveries,
		base(Objects, "immutable objects by hash"),
		base(Controls, "newest version of each control record"),
		base(Journal, "batches about to be written"),
		leases,
	}
}
