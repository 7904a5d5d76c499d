package topology

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"attune/pipeline/embedded/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T) jetstream.JetStream {
	t.Helper()
	js := enginetest.JetStream(t)
	return js
}

func streams(t *testing.T, js jetstream.JetStream) map[string]string {
	t.Helper()
	all := map[string]string{}
	list := js.ListStreams(t.Context())
	for info := range list.Info() {
		text, err := json.Marshal(struct {
			Config  jetstream.StreamConfig
			Created time.Time
			State   jetstream.StreamState
		}{info.Config, info.Created, info.State})
		if err != nil {
			t.Fatal(err)
		}
		all[info.Config.Name] = string(text)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEnsureTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	js := connect(t)
	config := DefaultConfig()
	if err := Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), Subject(Events, 3), []byte("x")); err != nil {
		t.Fatal(err)
	}
	before := streams(t, js)
	if want := len(StreamConfigs(config)) + len(BucketConfigs(config)); len(before) != want {
		t.Errorf("%d streams, want %d", len(before), want)
	}
	if err := Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, streams(t, js)); diff != "" {
		t.Error(diff)
	}
	if n, err := Partitions(t.Context(), js); err != nil || n != config.Partitions {
		t.Errorf("%d partitions, %v; want %d", n, err, config.Partitions)
	}
}

func TestEnsureRefusesAnotherNumberOfPartitions(t *testing.T) {
	t.Parallel()
	js := connect(t)
	config := DefaultConfig()
	if err := Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	before := streams(t, js)
	config.Partitions = 16
	err := Ensure(t.Context(), js, config)
	if err == nil || !strings.Contains(err.Error(), "16") || !strings.Contains(err.Error(), "set partitions: 8") {
		t.Errorf("error %v, want the hint to set partitions: 8", err)
	}
	if diff := cmp.Diff(before, streams(t, js)); diff != "" {
		t.Error(diff)
	}
}

func TestEnsureRefusesForeignStreams(t *testing.T) {
	t.Parallel()
	js := connect(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: Events, Subjects: []string{"mine.>"}}); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(t.Context(), js, DefaultConfig()); err == nil || !strings.Contains(err.Error(), "not created by Attune") {
		t.Errorf("error %v", err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edit  func(*Config)
		field string // named by the error; none: it is valid
	}{
		"default": {func(*Config) {}, ""},
		"most":    {func(c *Config) { c.Partitions, c.Replicas = 256, 5 }, ""},
		"least": {func(c *Config) {
			c.Partitions, c.EventsAge, c.DuplicatesAge, c.RawBytes = 1, time.Hour, time.Minute, 1<<20
		}, ""},
		"no partition":       {func(c *Config) { c.Partitions = 0 }, "partitions: 0"},
		"too many":           {func(c *Config) { c.Partitions = 257 }, "partitions: 257"},
		"two replicas":       {func(c *Config) { c.Replicas = 2 }, "replicas: 2"},
		"short log":          {func(c *Config) { c.EventsAge = 59 * time.Minute }, "events_age: 59m0s"},
		"no dead letters":    {func(c *Config) { c.DeadLetterAge = 0 }, "dead_letter_age: 0s"},
		"old dead letters":   {func(c *Config) { c.DeadLetterAge = 14*24*time.Hour + 1 }, "dead_letter_age: 336h"},
		"forgotten at once":  {func(c *Config) { c.DuplicatesAge = time.Second }, "duplicates_age: 1s"},
		"no room for a call": {func(c *Config) { c.RawBytes = 1<<20 - 1 }, "raw_bytes: 1048575"},
		"always paused":      {func(c *Config) { c.EventsLag = 999 }, "events_lag: 999"},
		"one commit fills":   {func(c *Config) { c.CommitsBytes = 16<<20 - 1 }, "commits_bytes: 16777215"},
		"no delivery":        {func(c *Config) { c.OutboxMessages = 0 }, "outbox_messages: 0"},
		"no room for it":     {func(c *Config) { c.DeadLetterBytes = 0 }, "dead_letter_bytes: 0"},
	} {
		config := DefaultConfig()
		test.edit(&config)
		err := config.Validate()
		if (err == nil) != (test.field == "") || err != nil && (!strings.Contains(err.Error(), test.field) || !strings.Contains(err.Error(), "give ")) {
			t.Errorf("%s: error %v, want one about %q with what to give", name, err, test.field)
		}
	}
	if err := Ensure(t.Context(), nil, Config{}); err == nil {
		t.Error("Ensure takes an invalid configuration")
	}
}

// A stream that is full refuses: only the schedules' one has no choice, and so it has no limit.
func TestNoStreamDropsWhatIsUnread(t *testing.T) {
	t.Parallel()
	js := connect(t)
	if err := Ensure(t.Context(), js, DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	for _, s := range StreamConfigs(DefaultConfig()) {
		stream, err := js.Stream(t.Context(), s.Name)
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		unlimited := c.MaxBytes <= 0 && c.MaxMsgs <= 0 && c.MaxMsgsPerSubject <= 0
		if s.Name == Wakeups && (!unlimited || c.MaxAge != 0) {
			t.Errorf("%s has a limit, and what exceeds it is dropped: %+v", s.Name, c)
		}
		if s.Name != Wakeups && c.Discard != jetstream.DiscardNew {
			t.Errorf("%s drops what is old", s.Name)
		}
		if wantsLimit := s.Name == Raw || s.Name == Outbox || s.Name == DeadLetter; wantsLimit && unlimited {
			t.Errorf("%s has no limit", s.Name)
		}
	}
}

// The broker puts what is published to attune.events.<key> where Partition says.
func TestPartitionIsTheBrokers(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 7, 8, 256} {
		js := connect(t)
		config := DefaultConfig()
		config.Partitions = partitions
		if err := Ensure(t.Context(), js, config); err != nil {
			t.Fatal(err)
		}
		raw, err := js.Stream(t.Context(), Raw)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			key := rapid.StringMatching(`[!-)+-=?-~äöü€]{1,30}`).Filter(func(s string) bool { return !strings.Contains(s, ".") }).Draw(rt, "key")
			ack, err := js.Publish(t.Context(), IngestSubject+"."+key, []byte("{}"))
			if err != nil {
				rt.Fatal(err)
			}
			m, err := raw.GetMsg(t.Context(), ack.Sequence)
			if err != nil {
				rt.Fatal(err)
			}
			if want := Subject(Raw, Partition(key, partitions)); m.Subject != want {
				rt.Fatalf("%q of %d: the broker put it to %s, want %s", key, partitions, m.Subject, want)
			}
			if p, err := PartitionOf(m.Subject); err != nil || p != Partition(key, partitions) {
				rt.Fatalf("PartitionOf(%s) = %d, %v", m.Subject, p, err)
			}
		})
	}
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		Subject(Outbox, "mail"):      "OUTBOX.mail",
		Subject(Events, 3):           "EVENTS.3",
		ScheduleSubject(3, 7, "p-1"): "WAKE.at.3.7.p-1",
		DueSubject(3):                "WAKE.due.3",
		Durable("relay", 3):          "relay-3",
		Durable("deliver", "mail"):   "deliver-mail",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, subject := range []string{"EVENTS", "EVENTS.", "EVENTS.x", "EVENTS.-1", "EVENTS.1.2", ""} {
		if p, err := PartitionOf(subject); err == nil {
			t.Errorf("PartitionOf(%q) = %d", subject, p)
		}
	}
}
