package bus

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestLeaderIsAsked(t *testing.T) {
	t.Parallel()
	conn, _ := logStream(t)
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
	if _, err := LastAtLeader(t.Context(), conn, "NONE", "LOG.0"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no such stream: %v", err)
	}
}
