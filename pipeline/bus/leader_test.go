package bus

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestLeaderIsAsked(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 3)
	fill(t, conn, "LOG.1", 4, 1)
	for _, c := range []struct {
		subject    string
		from       uint64
		next, last uint64
	}{
		{subject: "LOG.0", next: 1, last: 3},
		{subject: "LOG.0", from: 3, next: 3, last: 3},
		{subject: "LOG.0", from: 4, last: 3},
		{subject: "LOG.*", from: 4, next: 4, last: 4},
		{subject: "LOG.2"},
	} {
		next, err := NextAtLeader(t.Context(), conn, "LOG", c.subject, c.from)
		if err != nil || next != c.next {
			t.Errorf("%s from %d on: %d, %v; want %d", c.subject, c.from, next, err, c.next)
		}
		last, err := LastAtLeader(t.Context(), conn, "LOG", c.subject)
		if err != nil || last != c.last {
			t.Errorf("the last of %s: %d, %v; want %d", c.subject, last, err, c.last)
		}
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do    func() error
		value string
		at    uint64
	}{
		{do: func() error { return nil }},
		{do: func() error { _, err := kv.PutString(t.Context(), "k", "1"); return err }, value: "1", at: 1},
		{do: func() error { _, err := kv.Update(t.Context(), "k", []byte("2"), 1); return err }, value: "2", at: 2},
		{do: func() error { return kv.Delete(t.Context(), "k") }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		value, revision, err := ValueAtLeader(t.Context(), conn, "b", "k")
		if err != nil || string(value) != step.value || revision != step.at {
			t.Errorf("%q, revision %d, %v; want %q, %d", value, revision, err, step.value, step.at)
		}
	}
	if _, err := LastAtLeader(t.Context(), conn, "NONE", "LOG.0"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no such stream: %v", err)
	}
}
