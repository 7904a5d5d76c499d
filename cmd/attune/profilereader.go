package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/profile"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/stages/normalize"
)

// profileReader finds a customer's state as it was last committed. It is safe for concurrent use.
type profileReader struct {
	js         jetstream.JetStream
	partitions int
	hash       *vault.Hasher
	commits    *pipeline.CommitCodec
	tail       int // bytes of commits that are read at most
}

// found is a profile and where it was found.
type found struct {
	*profile.Profile
	Partition int
	Controls  pipeline.Controls // in force by the partition's newest commit
	// Behind tells that so many commits are not folded yet that they were not read: the state may be some seconds old.
	Behind bool
}

// errNoProfile is returned where there is no such customer.
var errNoProfile = errors.New("no such profile")

const (
	// tailBytes bounds what one question reads of the commits that are not folded yet.
	tailBytes = 16 << 20
	tailWait  = 5 * time.Second
	tailBatch = 64
)

func newProfileReader(ctx context.Context, js jetstream.JetStream, partitions int) (*profileReader, error) {
	hash, err := vault.OpenHasher(ctx, js)
	if err != nil {
		return nil, err
	}
	commits, err := pipeline.NewCommitCodec()
	if err != nil {
		return nil, err
	}
	return &profileReader{js: js, partitions: partitions, hash: hash, commits: commits, tail: tailBytes}, nil
}

var profileID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// resolve makes a profile id of what was asked for: one, or user:ID or anonymous:ID as producers know them.
func (r *profileReader) resolve(ctx context.Context, asked string) (string, error) {
	kind, id, named := strings.Cut(asked, ":")
	if !named {
		if !profileID.MatchString(asked) {
			return "", fmt.Errorf("%q is no profile's id: %w; give an id, user:ID or anonymous:ID", asked, errNoProfile)
		}
		return asked, nil
	}
	var key string
	switch {
	case kind == "user" && id != "":
		key = normalize.UserKey(r.hash, id)
	case kind == "anonymous" && id != "":
		key = normalize.AnonymousKey(r.hash, id)
	default:
		return "", fmt.Errorf("%q is no profile's id: %w; give an id, user:ID or anonymous:ID", asked, errNoProfile)
	}
	identities, err := r.js.KeyValue(ctx, topology.Identities)
	if err != nil {
		return "", fmt.Errorf("open identities: %w", err)
	}
	entry, err := identities.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "", fmt.Errorf("%w: nobody is known by this %s id; ids are case-sensitive", errNoProfile, kind)
	}
	if err != nil {
		return "", fmt.Errorf("read identity: %w", err)
	}
	return normalize.ProfileOf(entry.Value()), nil
}

// maxMerges bounds how often a customer is looked for elsewhere.
const maxMerges = 100

// read finds a customer by the id of a profile, also one that went on in another one.
func (r *profileReader) read(ctx context.Context, id string) (*found, error) {
	for range maxMerges {
		f, err := r.readOne(ctx, id)
		if err != nil || f.Into == "" {
			return f, err
		}
		id = f.Into
	}
	return nil, fmt.Errorf("profile %s went on in another one more than %d times", id, maxMerges)
}

// readOne finds a profile by its id. First it looks into the commits that are not folded yet and then into the bucket, so
// that what is folded meanwhile is not missed.
func (r *profileReader) readOne(ctx context.Context, id string) (*found, error) {
	f := &found{Partition: topology.Partition(id, r.partitions)}
	encoded, folded, err := r.readTail(ctx, f, id)
	if err != nil {
		return nil, fmt.Errorf("read the commits of partition %d: %w", f.Partition, err)
	}
	bucket, err := state.Open(r.js.Conn(), topology.Profiles)
	if err != nil {
		return nil, err
	}
	defer bucket.Close()
	bucket.NotBefore(folded)
	stored, err := bucket.Get(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	for _, data := range [][]byte{encoded, stored[id].Value} {
		if data == nil {
			continue
		}
		p, err := profile.Decode(data)
		if err != nil {
			return nil, fmt.Errorf("profile %s: %w", id, err)
		}
		if f.Profile == nil || p.Applied > f.Applied {
			f.Profile = p
		}
	}
	if f.Profile == nil {
		return nil, fmt.Errorf("%w: nothing was ever committed for %s (a user is user:%[2]s, a visitor anonymous:%[2]s); a new customer appears with the first event that is handled", errNoProfile, id)
	}
	return f, nil
}

// readTail finds the newest state in the commits above the mark, if there is one, and the bucket's revision that holds
// all others.
func (r *profileReader) readTail(ctx context.Context, f *found, id string) (encoded []byte, folded uint64, err error) {
	subject := topology.Subject(topology.Commits, f.Partition)
	stream, err := r.js.Stream(ctx, topology.Commits)
	if err != nil {
		return nil, 0, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	last, err := r.commits.Decode(m.Data)
	if err != nil {
		return nil, 0, err
	}
	f.Controls = last.Controls
	if newest := stateOf(last, id); newest != nil || last.Mark+1 >= m.Sequence {
		return newest, last.Folded, nil
	}
	consumer, err := bus.CreateConsumer(ctx, r.js, topology.Commits, jetstream.ConsumerConfig{
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: last.Mark + 1,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, 0, err
	}
	name := consumer.CachedInfo().Name
	defer bus.Discard(ctx, r.js, topology.Commits, name)
	puller, err := bus.NewPuller(r.js.Conn(), topology.Commits, name, tailBatch)
	if err != nil {
		return nil, 0, err
	}
	defer puller.Close()
	ctx, cancel := context.WithTimeout(ctx, tailWait)
	defer cancel()
	for size := 0; size < r.tail; {
		batch, err := puller.Next(ctx, tailBatch)
		if err != nil {
			return nil, 0, err
		}
		for _, d := range batch {
			size += len(d.Data)
			commit, err := r.commits.Decode(d.Data)
			if err != nil {
				return nil, 0, err
			}
			if s := stateOf(commit, id); s != nil {
				encoded = s
			}
			if d.Sequence >= m.Sequence {
				return encoded, last.Folded, nil
			}
		}
	}
	f.Behind = true
	return encoded, last.Folded, nil
}

func stateOf(c *pipeline.Commit, id string) (encoded []byte) {
	for i := range c.Profiles {
		if c.Profiles[i].ID == id {
			encoded = c.Profiles[i].State
		}
	}
	return encoded
}

// personal reads the vault's fields of a profile.
func (r *profileReader) personal(ctx context.Context, id string) (vault.Entry, error) {
	bucket, err := state.Open(r.js.Conn(), topology.Vault)
	if err != nil {
		return vault.Entry{}, err
	}
	entries := vault.New(bucket)
	defer entries.Close()
	return entries.Get(ctx, id)
}
