package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// A call that is tried again is as old as it was: its sender's clock is corrected by when it was accepted first.
func TestDeadLetterRetryKeepsAccepted(t *testing.T) {
	t.Parallel()
	i := install(t, 1, `clickhouse: {dsn: "clickhouse://nowhere:9000/"}`)
	raw, err := pipeline.NewRawLog(t.Context(), i.js, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	began := time.Now()
	accepted := event.At(began.Add(-3 * time.Hour))
	if err := raw.Park(t.Context(), []pipeline.DeadLetter{
		{Reason: "mended", Payload: []byte(`{"userId":"u"}`), SentAt: accepted, Accepted: accepted},
		{Reason: "mended", Payload: []byte(`{"userId":"u","old":true}`), SentAt: accepted}, // of an earlier version
	}); err != nil {
		t.Fatal(err)
	}
	if said := i.printed("", "deadletter", "retry", "--reason", "mended"); !strings.HasPrefix(said, "2 sent again") {
		t.Errorf("it says %q", said)
	}
	stream, err := i.js.Stream(t.Context(), topology.Raw)
	if err != nil {
		t.Fatal(err)
	}
	for n, fits := range []func(time.Time) bool{
		func(at time.Time) bool { return at.Equal(accepted.Time()) },
		func(at time.Time) bool { return !at.Before(began.Truncate(time.Millisecond)) },
	} {
		m, err := stream.GetMsg(t.Context(), uint64(n+1))
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, m.Header.Get(event.HeaderAccepted))
		if err != nil || !fits(at) || m.Header.Get(event.HeaderSentAt) == "" {
			t.Errorf("%s has %v, %v", m.Data, m.Header, err)
		}
	}
}

// Only what was sent counts, and nothing is tried once the user has had enough.
func TestDeadLetterRetryCounts(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		stopAt, failAt uint64 // the number of a letter; 0: none
		sent           int
		want           error
	}{
		"all":         {0, 0, 5, nil},
		"one fails":   {0, 2, 4, broken},
		"interrupted": {3, 0, 3, context.Canceled},
		"both":        {3, 2, 2, broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var letters []letter
			for n := range uint64(5) {
				letters = append(letters, letter{number: n + 1})
			}
			sent, err := retryAll(ctx, letters, func(x letter) error {
				if x.number == c.stopAt {
					stop()
				}
				if x.number == c.failAt {
					return broken
				}
				return nil
			})
			if sent != c.sent || !errors.Is(err, c.want) {
				t.Errorf("%d sent, %v", sent, err)
			}
		})
	}
}
