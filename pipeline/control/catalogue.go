package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
)

// Entry is one object of a kind's catalogue. It is kept for good, in force or not.
type Entry struct {
	Number uint64 // from 1, in the order in which they were added
	Hash   string
	Added  time.Time
}

// Add stores an object under the kind's next number without putting it in force: that is Apply's. What is in the
// catalogue already keeps its number.
func (s *Store) Add(ctx context.Context, kind string, object []byte) (Entry, error) {
	hash := Hash(object)
	for {
		all, err := s.Catalogue(ctx, kind)
		if err != nil {
			return Entry{}, err
		}
		if i := slices.IndexFunc(all, func(e Entry) bool { return e.Hash == hash }); i >= 0 {
			return all[i], nil
		}
		number := uint64(1)
		if len(all) > 0 {
			number = all[len(all)-1].Number + 1
		}
		if _, err := s.Put(ctx, object); err != nil {
			return Entry{}, err
		}
		_, err = s.controls.Create(ctx, entryKey(kind, number), []byte(hash))
		if bus.IsConflict(err) {
			continue // another one took the number
		}
		if err != nil {
			return Entry{}, fmt.Errorf("add %s %d: %w", kind, number, err)
		}
		return Entry{Number: number, Hash: hash, Added: time.Now()}, nil
	}
}

// Catalogue lists what was added of a kind, by number.
func (s *Store) Catalogue(ctx context.Context, kind string) (all []Entry, err error) {
	keys, err := s.controls.ListKeysFiltered(ctx, kind+".*")
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", kind, err)
	}
	var names []string
	for key := range keys.Keys() {
		names = append(names, key)
	}
	for _, key := range names {
		number, err := strconv.ParseUint(strings.TrimPrefix(key, kind+"."), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("list %s: key %s: %w", kind, key, err)
		}
		entry, err := s.controls.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", kind, err)
		}
		all = append(all, Entry{Number: number, Hash: string(entry.Value()), Added: entry.Created()})
	}
	slices.SortFunc(all, func(a, b Entry) int { return int(a.Number) - int(b.Number) })
	return all, nil
}

func entryKey(kind string, number uint64) string { return kind + "." + strconv.FormatUint(number, 10) }
