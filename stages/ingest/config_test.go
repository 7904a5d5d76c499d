package ingest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	good := func() Config {
		c := DefaultConfig()
		c.WriteKeys = []WriteKey{{Name: "shop", Key: "dev"}}
		return c
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error
	}{
		{"no name", func(c *Config) { c.WriteKeys[0].Name = " " }, "write_keys[0].name: empty"},
		{"same name", func(c *Config) { c.WriteKeys = append(c.WriteKeys, WriteKey{"shop", "k2"}) }, `write_keys[1].name: "shop" is also the name of write_keys[0]`},
		{"empty key", func(c *Config) { c.WriteKeys[0].Key = "" }, "write_keys[0].key: empty"},
		{"colon in key", func(c *Config) { c.WriteKeys[0].Key = "hush:hush" }, "write_keys[0].key: has a character"},
		{"same key", func(c *Config) { c.WriteKeys = append(c.WriteKeys, WriteKey{"b", "dev"}) }, "write_keys[1].key: the same as that of write_keys[0]"},
		{"event size", func(c *Config) { c.MaxEventBytes = 10 }, "max_event_bytes: 10 is outside 1024 to 524288"},
		{"batch below event", func(c *Config) { c.MaxBatchBytes = 1 << 10 }, "max_batch_bytes: 1024 is outside 32768 to"},
		{"batch events", func(c *Config) { c.MaxBatchEvents = 0 }, "max_batch_events: 0"},
		{"in flight", func(c *Config) { c.MaxInFlight = 0 }, "max_in_flight: 0"},
		{"append timeout", func(c *Config) { c.AppendTimeout = 0 }, "append_timeout: 0s"},
		{"retry after", func(c *Config) { c.RetryAfter = 1500 * time.Millisecond }, "retry_after: 1.5s"},
		{"origin with path", func(c *Config) { c.CORSOrigins = []string{"https://shop.example/"} }, "cors_origins[0]: \"https://shop.example/\" is no origin"},
		{"origin without scheme", func(c *Config) { c.CORSOrigins = []string{"shop.example"} }, "cors_origins[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := good()
			c.change(&cfg)
			err := cfg.Validate()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hush") {
				t.Errorf("the error tells the key: %v", err)
			}
			if _, err := Handler(cfg, &memoryLog{}, &memoryDead{}, Deps{Now: time.Now, NewID: func() string { return "x" }}); err == nil {
				t.Error("the handler took it")
			}
		})
	}
	two := Config{}
	if err := two.Validate(); strings.Count(fmt.Sprint(err), "\n") < 4 {
		t.Errorf("not everything that is wrong is reported: %v", err)
	}
	if got := fmt.Sprint(good().WriteKeys); got != "[shop:***]" {
		t.Errorf("printed keys: %s", got)
	}
}

func TestHandlerNeedsItsDeps(t *testing.T) {
	cfg := DefaultConfig()
	cfg.WriteKeys = []WriteKey{{Name: "shop", Key: "dev"}}
	now, id := func() time.Time { return noon }, func() string { return "x" }
	for name, try := range map[string]func() (http.Handler, error){
		"log":   func() (http.Handler, error) { return Handler(cfg, nil, &memoryDead{}, Deps{Now: now, NewID: id}) },
		"dead":  func() (http.Handler, error) { return Handler(cfg, &memoryLog{}, nil, Deps{Now: now, NewID: id}) },
		"now":   func() (http.Handler, error) { return Handler(cfg, &memoryLog{}, &memoryDead{}, Deps{NewID: id}) },
		"newID": func() (http.Handler, error) { return Handler(cfg, &memoryLog{}, &memoryDead{}, Deps{Now: now}) },
	} {
		if _, err := try(); err == nil {
			t.Errorf("without %s there is no error", name)
		}
	}
}
