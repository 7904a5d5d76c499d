// Package control brings what steers decisions into the log: an immutable object is stored first, then a
// control record that names it is appended to every partition. It is how definitions take effect.
package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// ErrNoObject is returned by Object when no object has the hash: a partition that needs it stops until it is there.
var ErrNoObject = errors.New("no such object")

// ErrConcurrent is returned by Apply when another one took the version at the same moment: apply again.
var ErrConcurrent = errors.New("someone else applied at the same moment: apply again")

// Store writes and reads objects and control records. It is safe for concurrent use.
type Store struct {
	js         jetstream.JetStream
	objects    jetstream.KeyValue
	controls   jetstream.KeyValue
	partitions int
}

// Open prepares the store on existing streams and buckets.
func Open(ctx context.Context, js jetstream.JetStream, partitions int) (*Store, error) {
	objects, err := js.KeyValue(ctx, topology.Objects)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Objects, err)
	}
	controls, err := js.KeyValue(ctx, topology.Controls)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Controls, err)
	}
	return &Store{js: js, objects: objects, controls: controls, partitions: partitions}, nil
}

// Object reads an object and checks it against its hash.
func (s *Store) Object(ctx context.Context, hash string) ([]byte, error) {
	entry, err := s.objects.Get(ctx, hash)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, fmt.Errorf("object %s: %w", hash, ErrNoObject)
	}
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", hash, err)
	}
	if got := Hash(entry.Value()); got != hash {
		return nil, fmt.Errorf("object %s: its content has the hash %s", hash, got)
	}
	return entry.Value(), nil
}

// Put stores an object for others to name it by its hash, which it returns.
func (s *Store) Put(ctx context.Context, object []byte) (hash string, err error) {
	hash = Hash(object)
	if _, err := s.objects.Put(ctx, hash, object); err != nil {
		return "", fmt.Errorf("store object %s: %w", hash, err)
	}
	return hash, nil
}

// Newest is the latest control record of a kind; the zero record when there is none.
func (s *Store) Newest(ctx context.Context, kind string) (event.ControlRecord, error) {
	record, _, err := s.newest(ctx, kind)
	return record, err
}

// Since is when the latest control record of a kind was made; the zero time when there is none.
func (s *Store) Since(ctx context.Context, kind string) (time.Time, error) {
	entry, err := s.controls.Get(ctx, kind)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("newest version of %s: %w", kind, err)
	}
	return entry.Created(), nil
}

// Option says more about a version than its object.
type Option func(next *event.ControlRecord, newest event.ControlRecord)

// Prepared puts definitions in force for all customers at now, as they were staged under the version; 0: under none,
// since they lead to the same memberships as those before. Where fire is set, campaigns take the flips for a trigger.
func Prepared(staged uint64, fire bool, now time.Time) Option {
	return func(next *event.ControlRecord, newest event.ControlRecord) {
		next.At, next.Before, next.Fire = max(event.At(now), newest.At+1), newest.Hash, fire
		next.Staged = max(staged, newest.Staged)
	}
}

// Staging has definitions prepared; fire is what their coming into force shall say.
func Staging(fire bool) Option {
	return func(next *event.ControlRecord, _ event.ControlRecord) { next.Fire = fire }
}

// Apply brings an object into force under the next version of its kind, unless the newest version already
// has it, and returns the record. A crash in between is mended by applying again, or by Finish: each partition takes a
// version once.
func (s *Store) Apply(ctx context.Context, kind string, object []byte, now time.Time, options ...Option) (record event.ControlRecord, changed bool, err error) {
	newest, revision, err := s.newest(ctx, kind)
	if err != nil {
		return record, false, err
	}
	if record, changed, err = s.follow(ctx, kind, object, newest, revision, options...); err != nil {
		return record, false, err
	}
	// Also when nothing changed: the process that took the version may have died before this.
	return record, changed, s.tell(ctx, record, now)
}

// Change is Apply of what change makes of the newest object (nil: there is none). Where someone else was faster, change is
// asked again of theirs: nobody's change is lost. Where it changes nothing, and all were told, it is cheap.
func (s *Store) Change(ctx context.Context, kind string, now time.Time, change func(object []byte) ([]byte, error)) (record event.ControlRecord, changed bool, err error) {
	for {
		newest, revision, err := s.newest(ctx, kind)
		if err != nil {
			return record, false, err
		}
		var object []byte
		if newest.Version > 0 {
			if object, err = s.Object(ctx, newest.Hash); err != nil {
				return record, false, err
			}
		}
		if object, err = change(object); err != nil {
			return record, false, err
		}
		record, changed, err = s.follow(ctx, kind, object, newest, revision)
		if errors.Is(err, ErrConcurrent) {
			continue
		}
		if err == nil {
			err = s.finish(ctx, record, now)
		}
		return record, changed, err
	}
}

// follow takes the version after the newest, which has the revision, for an object.
func (s *Store) follow(ctx context.Context, kind string, object []byte, newest event.ControlRecord, revision uint64, options ...Option) (record event.ControlRecord, changed bool, err error) {
	hash := Hash(object)
	next := event.ControlRecord{Kind: kind, Version: newest.Version + 1, Hash: hash, Staged: newest.Staged}
	for _, option := range options {
		option(&next, newest)
	}
	if newest.Hash != hash || newest.Staged != next.Staged {
		if _, err := s.Put(ctx, object); err != nil {
			return record, false, err
		}
		newest = next
		data, err := json.Marshal(newest)
		if err != nil {
			return record, false, err
		}
		if revision == 0 {
			_, err = s.controls.Create(ctx, kind, data)
		} else {
			_, err = s.controls.Update(ctx, kind, data, revision)
		}
		if bus.IsConflict(err) {
			return record, false, fmt.Errorf("apply %s version %d: %w", kind, newest.Version, ErrConcurrent)
		}
		if err != nil {
			return record, false, fmt.Errorf("apply %s version %d: %w", kind, newest.Version, err)
		}
		changed = true
	}
	return newest, changed, nil
}

// Repeat tells every partition again of the newest version of each kind: a broker that lost its power may have lost records.
func (s *Store) Repeat(ctx context.Context, now time.Time, kinds ...string) error {
	return s.each(ctx, now, kinds, s.tell)
}

// Finish tells every partition of those newest versions of which it is not known that all were told: whoever took one may
// have died before it had.
func (s *Store) Finish(ctx context.Context, now time.Time, kinds ...string) error {
	return s.each(ctx, now, kinds, s.finish)
}

func (s *Store) each(ctx context.Context, now time.Time, kinds []string, do func(context.Context, event.ControlRecord, time.Time) error) error {
	for _, kind := range kinds {
		newest, _, err := s.newest(ctx, kind)
		if err == nil && newest.Version > 0 {
			err = do(ctx, newest, now)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish tells unless all were told.
func (s *Store) finish(ctx context.Context, record event.ControlRecord, now time.Time) error {
	told, _, err := bus.ValueAtLeader(ctx, s.js.Conn(), topology.Controls, toldKey(record.Kind))
	if err != nil {
		return fmt.Errorf("who was told of %s version %d: %w", record.Kind, record.Version, err)
	}
	if string(told) == strconv.FormatUint(record.Version, 10) {
		return nil
	}
	return s.tell(ctx, record, now)
}

// toldKey is where it is noted of which version of a kind every partition was told.
func toldKey(kind string) string { return "told." + kind }

// tell appends a record to every partition, and notes that.
func (s *Store) tell(ctx context.Context, record event.ControlRecord, now time.Time) error {
	for p := range s.partitions {
		if err := s.append(ctx, p, record, now); err != nil {
			return err
		}
	}
	if _, err := s.controls.PutString(ctx, toldKey(record.Kind), strconv.FormatUint(record.Version, 10)); err != nil {
		return fmt.Errorf("note that all were told of %s version %d: %w", record.Kind, record.Version, err)
	}
	return nil
}

func (s *Store) append(ctx context.Context, partition int, record event.ControlRecord, now time.Time) error {
	e := event.Event{
		ID:   fmt.Sprintf("%s-%d", record.Kind, record.Version),
		Type: event.Control, Occurred: event.At(now), Accepted: event.At(now), Control: &record,
		Source: event.Source{Name: "control." + record.Kind, Ordinal: record.Version},
	}
	payload, err := e.Encode()
	if err != nil {
		return err
	}
	subject := topology.Subject(topology.Events, partition)
	if _, err := s.js.Publish(ctx, subject, payload); err != nil {
		return fmt.Errorf("append %s version %d to %s: %w", record.Kind, record.Version, subject, err)
	}
	return nil
}

func (s *Store) newest(ctx context.Context, kind string) (record event.ControlRecord, revision uint64, err error) {
	// Of a version that is not the newest it would be said that nothing changes where it is to come back.
	value, revision, err := bus.ValueAtLeader(ctx, s.js.Conn(), topology.Controls, kind)
	if err == nil && revision > 0 {
		err = json.Unmarshal(value, &record)
	}
	if err != nil {
		return event.ControlRecord{}, 0, fmt.Errorf("newest version of %s: %w", kind, err)
	}
	return record, revision, nil
}

// Hash names an object by its content: lower-case hex SHA-256.
func Hash(object []byte) string {
	sum := sha256.Sum256(object)
	return hex.EncodeToString(sum[:])
}
