package control

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 3

func open(t *testing.T) (*Store, jetstream.JetStream) {
	t.Helper()
	js := enginetest.JetStream(t)
	config := topology.DefaultConfig()
	config.Partitions = partitions
	if err := topology.Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), js, partitions)
	if err != nil {
		t.Fatal(err)
	}
	return s, js
}

// versions are those that a partition takes: each once, rising.
func versions(t *testing.T, js jetstream.JetStream, partition int) (taken []uint64) {
	t.Helper()
	highest := uint64(0)
	for _, e := range records(t, js, partition) {
		if e.Source.Ordinal > highest {
			highest = e.Source.Ordinal
			taken = append(taken, e.Control.Version)
		}
	}
	return taken
}

// kinds are the newest version of each kind that a partition has.
func kinds(t *testing.T, js jetstream.JetStream, partition int) map[string]uint64 {
	t.Helper()
	newest := map[string]uint64{}
	for _, e := range records(t, js, partition) {
		newest[e.Control.Kind] = max(newest[e.Control.Kind], e.Control.Version)
	}
	return newest
}

// records are a partition's control records, repeats too.
func records(t *testing.T, js jetstream.JetStream, partition int) (all []event.Event) {
	t.Helper()
	stream, err := js.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	for next := uint64(1); ; {
		m, err := stream.GetMsg(t.Context(), next, jetstream.WithGetMsgSubject(topology.Subject(topology.Events, partition)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		next = m.Sequence + 1
		e, err := event.Decode(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != event.Control || e.Control == nil || e.Source.Ordinal != e.Control.Version || e.Source.Name != "control."+e.Control.Kind || e.Source.After != 0 {
			t.Fatalf("partition %d holds %+v", partition, e)
		}
		all = append(all, e)
	}
}

func TestApplyGivesAnObjectAVersionOnce(t *testing.T) {
	t.Parallel()
	s, js := open(t)
	now := time.UnixMilli(1_700_000_000_000)
	if record, err := s.Newest(t.Context(), "definitions"); err != nil || record != (event.ControlRecord{}) {
		t.Errorf("newest of nothing: %+v, %v", record, err)
	}
	for _, step := range []struct {
		kind, object string
		version      uint64
		changed      bool
	}{
		{"definitions", "one", 1, true},
		{"definitions", "one", 1, false},
		{"definitions", "two", 2, true},
		{"other", "one", 1, true}, // kinds count apart
		{"definitions", "two", 2, false},
		{"definitions", "one", 3, true}, // back to what was in force before
	} {
		record, changed, err := s.Apply(t.Context(), step.kind, []byte(step.object), now)
		if err != nil {
			t.Fatal(err)
		}
		want := event.ControlRecord{Kind: step.kind, Version: step.version, Hash: Hash([]byte(step.object))}
		if record != want || changed != step.changed {
			t.Errorf("%s %s: %+v, changed %v; want %+v, %v", step.kind, step.object, record, changed, want, step.changed)
		}
		if newest, err := s.Newest(t.Context(), step.kind); err != nil || newest != want {
			t.Errorf("newest %+v, %v; want %+v", newest, err, want)
		}
		if object, err := s.Object(t.Context(), record.Hash); err != nil || string(object) != step.object {
			t.Errorf("object %q, %v", object, err)
		}
		if step.kind == "other" {
			continue
		}
		for p := range partitions {
			if got := versions(t, js, p); got[len(got)-1] != step.version && step.kind == "definitions" && step.version > 1 {
				t.Errorf("partition %d has the versions %v, want %d at its end", p, got, step.version)
			}
		}
	}
}

func TestEveryPartitionTakesEveryVersion(t *testing.T) {
	t.Parallel()
	s, js := open(t)
	for _, object := range []string{"a", "a", "b", "c", "c"} {
		if _, _, err := s.Apply(t.Context(), "definitions", []byte(object), time.UnixMilli(1)); err != nil {
			t.Fatal(err)
		}
	}
	for p := range partitions {
		if diff := cmp.Diff([]uint64{1, 2, 3}, versions(t, js, p)); diff != "" {
			t.Errorf("partition %d: %s", p, diff)
		}
	}
}

// A process that took a version and died before it told the partitions is mended by applying again.
func TestApplyMendsACrash(t *testing.T) {
	t.Parallel()
	s, js := open(t)
	if _, _, err := s.Apply(t.Context(), "definitions", []byte("a"), time.UnixMilli(1)); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject(topology.Subject(topology.Events, 2))); err != nil {
		t.Fatal(err)
	}
	if _, changed, err := s.Apply(t.Context(), "definitions", []byte("a"), time.UnixMilli(2)); err != nil || changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	for p := range partitions {
		if diff := cmp.Diff([]uint64{1}, versions(t, js, p)); diff != "" {
			t.Errorf("partition %d: %s", p, diff)
		}
	}
}

// Two apply at the same moment: no version is given to two objects.
func TestApplyAtTheSameMoment(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	var mu sync.Mutex
	given := map[uint64]string{}
	var work sync.WaitGroup
	for i := range 6 {
		object := []byte{byte('a' + i)}
		work.Go(func() {
			for {
				record, changed, err := s.Apply(t.Context(), "definitions", object, time.UnixMilli(1))
				if errors.Is(err, ErrConcurrent) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if !changed || given[record.Version] != "" {
					t.Errorf("version %d of %q was given to %q too", record.Version, object, given[record.Version])
				}
				given[record.Version] = string(object)
				return
			}
		})
	}
	work.Wait()
	if newest, err := s.Newest(t.Context(), "definitions"); err != nil || newest.Version != 6 || len(given) != 6 {
		t.Errorf("newest %+v, %v; versions %v", newest, err, given)
	}
}

func TestObjectIsCheckedAgainstItsHash(t *testing.T) {
	t.Parallel()
	s, js := open(t)
	if _, err := s.Object(t.Context(), Hash([]byte("nothing"))); !errors.Is(err, ErrNoObject) {
		t.Errorf("a missing object: %v, want %v", err, ErrNoObject)
	}
	kv, err := js.KeyValue(t.Context(), topology.Objects)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), Hash([]byte("true")), []byte("false")); err != nil {
		t.Fatal(err)
	}
	if object, err := s.Object(t.Context(), Hash([]byte("true"))); err == nil || errors.Is(err, ErrNoObject) {
		t.Errorf("another content was read: %q, %v", object, err)
	}
	if got, want := Hash([]byte("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; got != want {
		t.Errorf("Hash = %s, want %s (FIPS 180-4, example B.1)", got, want)
	}
}

// Objects of a catalogue keep their numbers, whoever adds at the same moment, and are not in force for it.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	var work sync.WaitGroup
	for _, object := range []string{"one", "two", "one", "three"} {
		work.Go(func() {
			if _, err := s.Add(t.Context(), "models", []byte(object)); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if _, _, err := s.Apply(t.Context(), "models", []byte("two"), time.UnixMilli(1)); err != nil {
		t.Fatal(err)
	}
	last, err := s.Add(t.Context(), "models", []byte("four"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Add(t.Context(), "models", []byte("four")); err != nil || again.Number != last.Number {
		t.Errorf("added again: %+v, %v; want number %d", again, err, last.Number)
	}
	all, err := s.Catalogue(t.Context(), "models")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for i, e := range all {
		object, err := s.Object(t.Context(), e.Hash)
		if err != nil {
			t.Fatal(err)
		}
		found[string(object)] = true
		if e.Number != uint64(i+1) || e.Added.IsZero() {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if len(all) != 4 || len(found) != 4 || all[len(all)-1].Hash != last.Hash {
		t.Errorf("the catalogue has %+v", all)
	}
	if newest, err := s.Newest(t.Context(), "models"); err != nil || newest.Version != 1 || newest.Hash != Hash([]byte("two")) {
		t.Errorf("in force: %+v, %v", newest, err)
	}
	if none, err := s.Catalogue(t.Context(), "definitions"); err != nil || len(none) != 0 {
		t.Errorf("another kind has %+v, %v", none, err)
	}
}

// Several change the same object at the same moment: each change is made of all before it.
func TestChangesAtTheSameMoment(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	var work sync.WaitGroup
	for i := range 6 {
		work.Go(func() {
			_, changed, err := s.Change(t.Context(), "stock", time.UnixMilli(1), func(object []byte) ([]byte, error) {
				return append(object, byte('a'+i)), nil
			})
			if err != nil || !changed {
				t.Errorf("changed %v, %v", changed, err)
			}
		})
	}
	work.Wait()
	newest, err := s.Newest(t.Context(), "stock")
	if err != nil {
		t.Fatal(err)
	}
	object, err := s.Object(t.Context(), newest.Hash)
	slices.Sort(object)
	if err != nil || string(object) != "abcdef" || newest.Version != 6 {
		t.Errorf("version %d has %q, %v", newest.Version, object, err)
	}
	refused := errors.New("refused")
	if _, changed, err := s.Change(t.Context(), "stock", time.UnixMilli(1), func([]byte) ([]byte, error) { return nil, refused }); !errors.Is(err, refused) || changed {
		t.Errorf("changed %v, %v", changed, err)
	}
}
