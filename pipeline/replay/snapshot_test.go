package replay_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/replay"
)

// save writes a snapshot of some states.
func save(t *testing.T, js jetstream.JetStream, states ...*replay.State) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := replay.NewSnapshotWriter(t.Context(), js, &file)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if err := w.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// open reads the first state of a snapshot.
func open(t *testing.T, js jetstream.JetStream, file []byte) *replay.State {
	t.Helper()
	r, err := replay.NewSnapshotReader(t.Context(), js, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSnapshotIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	r, other := newRig(t, nil), newRig(t, nil)
	states := []*replay.State{
		{Partition: 0, Position: 9, Read: 12, Hash: []byte("hash"), Trail: 3, Commit: 4, Sources: map[string]uint64{"a": 1}, Profiles: map[string][]byte{"p": []byte("state"), "q": []byte("other")}},
		{Partition: 3, Profiles: map[string][]byte{}},
	}
	file := save(t, r.js, states...)
	if !bytes.Equal(file, save(t, r.js, states...)) {
		t.Error("the same states give two different files")
	}
	reader, err := replay.NewSnapshotReader(t.Context(), r.js, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range states {
		got, err := reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := reader.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v", err)
	}
	if _, err := replay.NewSnapshotReader(t.Context(), other.js, bytes.NewReader(file)); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Errorf("another log's snapshot: %v", err)
	}
	if _, err := replay.NewSnapshotReader(t.Context(), r.js, strings.NewReader("id,name\n")); err == nil || !strings.Contains(err.Error(), "--snapshot") {
		t.Errorf("a foreign file: %v", err)
	}
	for cut := range file {
		reader, err := replay.NewSnapshotReader(t.Context(), r.js, bytes.NewReader(file[:cut]))
		for err == nil {
			_, err = reader.Next()
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("a file that is cut off at byte %d of %d is read as whole", cut, len(file))
		}
	}
}
