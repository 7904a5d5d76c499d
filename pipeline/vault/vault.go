// Package vault keeps customers' personal fields, apart from everything else: one entry per profile. Whatever
// goes on through the log carries keyed hashes in their place.
package vault

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/state"
	"attune/pipeline/topology"
)

// keyEntry holds the key of the hashes. No profile id looks like it.
const keyEntry = "_key"

// Hasher stands personal values in by keyed hashes: the same value gives the same hash within one
// installation, and nobody without the key can test a guess. It is safe for concurrent use.
type Hasher struct{ macs sync.Pool }

// OpenHasher reads the installation's key, or makes it at the first start.
func OpenHasher(ctx context.Context, js jetstream.JetStream) (*Hasher, error) {
	kv, err := js.KeyValue(ctx, topology.Vault)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	key := make([]byte, 32)
	rand.Read(key) // it never fails
	if _, err := kv.Create(ctx, keyEntry, key); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, fmt.Errorf("make the vault's key: %w", err)
	}
	// At the leader: a replica that lags may not have it yet.
	key, revision, err := bus.ValueAtLeader(ctx, js.Conn(), topology.Vault, keyEntry)
	if err == nil && revision == 0 {
		err = jetstream.ErrKeyNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read the vault's key: %w", err)
	}
	return NewHasher(key), nil
}

// NewHasher uses a given key.
func NewHasher(key []byte) *Hasher {
	return &Hasher{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// Hash is 128 bits of HMAC-SHA-256 over a kind and a value, in 22 characters of [A-Za-z0-9_-].
func (h *Hasher) Hash(kind, value string) string {
	mac := h.macs.Get().(hash.Hash)
	defer h.macs.Put(mac)
	mac.Reset()
	b := strconv.AppendInt(make([]byte, 0, 128), int64(len(kind)), 10)
	b = append(append(append(b, ':'), kind...), value...)
	mac.Write(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(b[:0])[:16])
}

// Entry is what the vault holds of one profile.
type Entry struct {
	Fields map[string]Field `json:"fields"`
	// Into is the profile whose entry has the fields; empty: this one has them.
	Into string `json:"into,omitempty"`
}

// Field is one personal field's latest value.
type Field struct {
	Value json.RawMessage `json:"value"` // compact JSON: a string, or an object such as an address
	At    event.Instant   `json:"at"`    // when the customer said it (occurred)
}

// An entry keeps MaxFields fields, the customer's own before those of some property (their names are dotted
// paths), and no value larger than MaxValue bytes: a producer's mistake must not fill the vault.
const (
	MaxFields = 200
	MaxValue  = 8 << 10
)

// Merge takes over newer fields and tells whether anything changed. At the same instant the larger text wins,
// and what is too much goes by name, so the order of arrival does not matter.
func (e *Entry) Merge(fields map[string]Field) (changed bool) {
	if e.Fields == nil {
		e.Fields = map[string]Field{}
	}
	for name, f := range fields {
		if e.takes(name, f) {
			e.Fields[name] = f
			changed = true
		}
	}
	if len(e.Fields) > MaxFields {
		e.trim()
	}
	return changed
}

// takes tells whether a field is news.
func (e *Entry) takes(name string, f Field) bool {
	old, ok := e.Fields[name]
	return len(f.Value) <= MaxValue && len(name) <= MaxValue && (!ok || old.At < f.At || old.At == f.At && string(old.Value) < string(f.Value))
}

// learns tells whether Merge would change anything.
func (e *Entry) learns(fields map[string]Field) bool {
	for name, f := range fields {
		if e.takes(name, f) {
			return true
		}
	}
	return false
}

func (e *Entry) trim() {
	names := slices.SortedFunc(maps.Keys(e.Fields), func(a, b string) int {
		dotted := func(name string) int { return min(strings.Count(name, "."), 1) }
		return cmp.Or(dotted(a)-dotted(b), strings.Compare(a, b))
	})
	for _, name := range names[MaxFields:] {
		delete(e.Fields, name)
	}
}

// Decode reads an entry; nil gives an empty one.
func Decode(data []byte) (Entry, error) {
	var e Entry
	if data == nil {
		return e, nil
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("decode vault entry: %w", err)
	}
	return e, nil
}

// encode writes an entry. Values stay byte for byte, so that two of the same instant compare as they came.
func encode(e Entry) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

const (
	mergeAttempts = 10
	mergePause    = time.Millisecond // grows with the square of the attempts, and is drawn from 0 up
)

// Vault reads and writes entries. It is for one goroutine; make one for each. Close it when done.
type Vault struct {
	bucket *state.Bucket
	// seen are entries as this vault saw them last, for Merge. An old one does no harm there: entries only take over what
	// is newer, so what is nothing new to an old entry isn't to the present one, and writing over an old one fails.
	seen *simplelru.LRU[string, seen]
}

// seen is an entry, whose fields nobody changes any more, and its revision.
type seen struct {
	Entry
	revision uint64
}

// maxSeen is how many entries a vault remembers: some hundred bytes each.
const maxSeen = 1 << 13

// New takes over a bucket that was opened on topology.Vault.
func New(bucket *state.Bucket) *Vault {
	entries, _ := simplelru.NewLRU[string, seen](maxSeen, nil) // it refuses only sizes below 1
	return &Vault{bucket: bucket, seen: entries}
}

// Close ends the access.
func (v *Vault) Close() { v.bucket.Close() }

// Get reads one profile's entry as it is at this moment, also where a replica lags; an empty one when there is none. Of a
// profile that was moved it is that of the other one.
func (v *Vault) Get(ctx context.Context, profile string) (Entry, error) {
	if err := v.bucket.Refresh(ctx); err != nil {
		return Entry{}, fmt.Errorf("vault: %w", err)
	}
	for range maxMoves {
		found, err := v.bucket.Get(ctx, []string{profile})
		if err != nil {
			return Entry{}, fmt.Errorf("vault: %w", err)
		}
		e, err := Decode(found[profile].Value)
		if err != nil || e.Into == "" {
			return e, err
		}
		profile = e.Into
	}
	return Entry{}, fmt.Errorf("vault: profile %s was moved more than %d times", profile, maxMoves)
}

// maxMoves bounds how often fields are looked for elsewhere.
const maxMoves = 100

// Move lets a profile's fields be another one's: those that it has, and those that are merged into it from now on. Moving
// again is fine.
func (v *Vault) Move(ctx context.Context, from, to string) error {
	for range mergeAttempts {
		found, err := v.bucket.Get(ctx, []string{from})
		if err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		entry, err := Decode(found[from].Value)
		if err != nil {
			return fmt.Errorf("vault: profile %s: %w", from, err)
		}
		if entry.Into != "" || from == to {
			return nil
		}
		if len(entry.Fields) > 0 { // first, so that they are always somewhere
			if err := v.Merge(ctx, map[string]map[string]Field{to: entry.Fields}); err != nil {
				return err
			}
		}
		data, err := encode(Entry{Fields: map[string]Field{}, Into: to})
		if err != nil {
			return fmt.Errorf("vault: profile %s: %w", from, err)
		}
		_, conflicts, err := v.bucket.Put(ctx, []state.Write{{Key: from, Value: data, Revision: found[from].Revision}})
		if err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		if len(conflicts) == 0 {
			return nil
		}
	}
	return fmt.Errorf("vault: the entry of profile %s keeps changing under other hands", from)
}

// recall finds entries, of those that were seen lately as they were then.
func (v *Vault) recall(ctx context.Context, profiles []string) (map[string]seen, error) {
	found := make(map[string]seen, len(profiles))
	var missing []string
	for _, profile := range profiles {
		if e, ok := v.seen.Get(profile); ok {
			found[profile] = e
		} else {
			missing = append(missing, profile)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	read, err := v.bucket.Get(ctx, missing)
	if err != nil {
		return nil, err
	}
	for profile, stored := range read {
		e, err := Decode(stored.Value)
		if err != nil {
			return nil, fmt.Errorf("profile %s: %w", profile, err)
		}
		found[profile] = seen{e, stored.Revision}
		v.seen.Add(profile, found[profile])
	}
	return found, nil
}

// Merge takes over newer fields of many profiles, with compare-and-set.
func (v *Vault) Merge(ctx context.Context, updates map[string]map[string]Field) error {
	updates = maps.Clone(updates) // what was moved is another one's
	open := make([]string, 0, len(updates))
	for profile := range updates {
		open = append(open, profile)
	}
	for attempt, moves := 0, 0; attempt < mergeAttempts && moves < maxMoves; {
		if len(open) == 0 {
			return nil
		}
		if attempt > 0 { // two writers of the same profiles must not keep meeting
			select {
			case <-time.After(mathrand.N(time.Duration(attempt*attempt) * mergePause)):
			case <-ctx.Done():
				return fmt.Errorf("vault: %w", ctx.Err())
			}
		}
		found, err := v.recall(ctx, open)
		if err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		var writes []state.Write
		var merged []Entry
		var moved []string
		for _, profile := range open {
			entry := found[profile]
			if entry.Into != "" {
				both := Entry{Fields: maps.Clone(updates[entry.Into])}
				both.Merge(updates[profile])
				updates[entry.Into] = both.Fields
				moved = append(moved, entry.Into)
				continue
			}
			if !entry.learns(updates[profile]) {
				continue
			}
			next := Entry{Fields: maps.Clone(entry.Fields)}
			next.Merge(updates[profile])
			data, err := encode(next)
			if err != nil {
				return fmt.Errorf("vault: profile %s: %w", profile, err)
			}
			v.seen.Remove(profile) // until it is known what is stored
			writes = append(writes, state.Write{Key: profile, Value: data, Revision: entry.revision})
			merged = append(merged, next)
		}
		revisions, conflicts, err := v.bucket.Put(ctx, writes)
		if err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		open = open[:0]
		for i, w := range writes {
			if revisions[i] == 0 {
				open = append(open, w.Key)
			} else {
				v.seen.Add(w.Key, seen{merged[i], revisions[i]})
			}
		}
		if len(conflicts) > 0 {
			attempt++
		}
		if len(moved) > 0 {
			moves++
		}
		open = append(open, moved...)
		slices.Sort(open)
		open = slices.Compact(open)
	}
	return fmt.Errorf("vault: %d entries keep changing under other hands", len(open))
}
