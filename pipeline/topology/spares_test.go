package topology

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What would take something from the log is refused, with how it is done on purpose.
func TestConfigSparesTheLog(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		age, was time.Duration
		reaches  time.Duration // how far back the log does; 0: it is empty
		replicas int
		had      int
		says     string
	}{
		"nothing changes":             {90 * day, 90 * day, 90 * day, 3, 3, ""},
		"older":                       {91 * day, 90 * day, 90 * day, 3, 3, ""},
		"younger, and nothing goes":   {30 * day, 90 * day, 29 * day, 3, 3, ""},
		"younger, of an empty log":    {30 * day, 90 * day, 0, 3, 3, ""},
		"younger, and something goes": {30 * day, 90 * day, 31 * day, 3, 3, "since 2026-03-31T00:00:00Z which would be deleted: set events_age: 2160h0m0s, or"},
		"of one that was for ever":    {30 * day, 0, 31 * day, 3, 3, "--max-age=720h0m0s"},
		"more replicas":               {90 * day, 90 * day, 1, 3, 1, ""},
		"fewer replicas":              {90 * day, 90 * day, 1, 1, 3, "replicas: 1 is configured, but the log has 3: set replicas: 3, or"},
	} {
		t.Run(name, func(t *testing.T) {
			log := &jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxAge: c.was, Replicas: c.had}}
			if c.reaches > 0 {
				log.State = jetstream.StreamState{Msgs: 1, FirstTime: now.Add(-c.reaches)}
			}
			config := DefaultConfig()
			config.EventsAge, config.Replicas = c.age, c.replicas
			err := config.spares(log, now)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %q", err, c.says)
			}
		})
	}
}
