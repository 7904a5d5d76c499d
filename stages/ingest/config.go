package ingest

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config is the HTTP ingest's settings.
type Config struct {
	// WriteKeys are the keys that producers show. Whoever takes events needs at least one.
	WriteKeys []WriteKey `yaml:"write_keys" json:"write_keys"`
	// MaxEventBytes is the limit of one call and of one event in a batch, decompressed. Default 32 KiB, 1 KiB to 512 KiB.
	MaxEventBytes int `yaml:"max_event_bytes" json:"max_event_bytes"`
	// MaxBatchBytes is the limit of a batch, decompressed. Default 500 KiB, MaxEventBytes to 64 MiB.
	MaxBatchBytes int `yaml:"max_batch_bytes" json:"max_batch_bytes"`
	// MaxBatchEvents is the most events in one batch. Default 2500, 1 to 100000.
	MaxBatchEvents int `yaml:"max_batch_events" json:"max_batch_events"`
	// MaxInFlight is how many requests are worked on at once; more are told 429. Default 256, at least 1.
	MaxInFlight int `yaml:"max_in_flight" json:"max_in_flight"`
	// MaxInFlightBytes bounds the bodies, unpacked, of the requests that are worked on at once, and the events that they
	// become with the context of their batch; more are told 429. One batch alone may take more. Default 64 MiB,
	// MaxBatchBytes to 16 GiB.
	MaxInFlightBytes int `yaml:"max_in_flight_bytes" json:"max_in_flight_bytes"`
	// AppendTimeout is how long a request waits for the log before it is told 503. Default 10s.
	AppendTimeout time.Duration `yaml:"append_timeout" json:"append_timeout"`
	// RetryAfter is the pause asked of a client with 429 and 503, in whole seconds. Default 1s, 1s to 5m.
	RetryAfter time.Duration `yaml:"retry_after" json:"retry_after"`
	// CORSOrigins are the browser origins that may send: "*" for all, or such as https://shop.example. Empty: none.
	// Default "*", as Segment's: a write key only lets write, and lies open in every page.
	CORSOrigins []string `yaml:"cors_origins" json:"cors_origins"`
	// Entrances take payloads of other formats: webhooks, CloudEvents, contacts of a CRM. Default none.
	Entrances []Entrance `yaml:"entrances" json:"entrances"`
}

// WriteKey lets a producer write.
type WriteKey struct {
	// Name says whose key it is, in logs: "shop-web".
	Name string `yaml:"name" json:"name"`
	// Key is what the producer sends: printable ASCII without colon or space.
	Key string `yaml:"key" json:"key"`
}

// String leaves the key out, for logs.
func (k WriteKey) String() string { return k.Name + ":***" }

// DefaultConfig is Segment's limits and every browser origin; it has no write key yet.
func DefaultConfig() Config {
	return Config{
		MaxEventBytes:    32 << 10,
		MaxBatchBytes:    500 << 10,
		MaxBatchEvents:   2500,
		MaxInFlight:      256,
		MaxInFlightBytes: 64 << 20,
		AppendTimeout:    10 * time.Second,
		RetryAfter:       time.Second,
		CORSOrigins:      []string{"*"},
	}
}

// Validate reports everything that is wrong with the settings, each with its field and a hint.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	within := func(field string, v, low, high int) {
		if v < low || v > high {
			bad("%s: %d is outside %d to %d", field, v, low, high)
		}
	}
	names, keys := map[string]int{}, map[string]int{}
	for i, k := range c.WriteKeys {
		field := fmt.Sprintf("write_keys[%d]", i)
		if strings.TrimSpace(k.Name) == "" {
			bad("%s.name: empty; name the producer that uses the key", field)
		} else if j, taken := names[k.Name]; taken {
			bad("%s.name: %q is also the name of write_keys[%d]; give each its own", field, k.Name, j)
		}
		names[k.Name] = i
		// The key's own text stays out of errors: they end in logs.
		if k.Key == "" {
			bad("%s.key: empty; give the key that the producer sends", field)
		} else if strings.ContainsFunc(k.Key, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
			bad("%s.key: has a character that HTTP Basic can't carry; use printable ASCII without colon and space", field)
		} else if j, taken := keys[k.Key]; taken {
			bad("%s.key: the same as that of write_keys[%d]; give each producer its own", field, j)
		}
		keys[k.Key] = i
	}
	within("max_event_bytes", c.MaxEventBytes, 1<<10, 512<<10)
	within("max_batch_bytes", c.MaxBatchBytes, c.MaxEventBytes, 64<<20)
	within("max_batch_events", c.MaxBatchEvents, 1, 100_000)
	within("max_in_flight", c.MaxInFlight, 1, 1<<20)
	within("max_in_flight_bytes", c.MaxInFlightBytes, c.MaxBatchBytes, 16<<30)
	if c.AppendTimeout <= 0 {
		bad("append_timeout: %s is not positive; the default is 10s", c.AppendTimeout)
	}
	if c.RetryAfter < time.Second || c.RetryAfter > 5*time.Minute || c.RetryAfter%time.Second != 0 {
		bad("retry_after: %s is not a whole number of seconds from 1s to 5m", c.RetryAfter)
	}
	for i, o := range c.CORSOrigins {
		if o == "*" {
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			bad(`cors_origins[%d]: %q is no origin; write "*" or scheme and host only, such as https://shop.example`, i, o)
		}
	}
	c.validateEntrances(bad)
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("ingest: %w", errors.Join(errs...))
}
