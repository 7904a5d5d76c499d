package shop

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counter is a server that only counts: it takes what it doesn't refuse.
type counter struct {
	mu       sync.Mutex
	refuse   func(attempt int) *http.Response // nil, or nil returned: taken
	fail     func(r *http.Request, attempt int) error
	attempts []time.Time
	taken    []string // message ids
	sizes    []int
	delays   []time.Duration // from an event's timestamp to its being taken
}

func (s *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	began := time.Now()
	s.attempts = append(s.attempts, began)
	if s.fail != nil {
		if err := s.fail(r, len(s.attempts)); err != nil {
			return nil, err
		}
	}
	if s.refuse != nil {
		if refusal := s.refuse(len(s.attempts)); refusal != nil {
			return refusal, nil
		}
	}
	if key, _, _ := r.BasicAuth(); key != "dev" || r.URL.String() != "http://shop.invalid/v1/batch" {
		return nil, fmt.Errorf("key %q to %s", key, r.URL)
	}
	zip, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	var body struct {
		SentAt time.Time
		Batch  []struct {
			MessageID string
			Timestamp time.Time
		}
	}
	if err := json.NewDecoder(zip).Decode(&body); err != nil {
		return nil, err
	}
	if !body.SentAt.Equal(began) {
		return nil, fmt.Errorf("sentAt %s: want this attempt's %s", body.SentAt, began)
	}
	s.sizes = append(s.sizes, len(body.Batch))
	for _, c := range body.Batch {
		s.taken = append(s.taken, c.MessageID)
		s.delays = append(s.delays, time.Since(c.Timestamp))
	}
	return answer200(), nil
}

func respond(status int, retryAfter string) *http.Response {
	header := http.Header{}
	if retryAfter != "" {
		header.Set("Retry-After", retryAfter)
	}
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status, " ", http.StatusText(status)), Header: header,
		Body: io.NopCloser(strings.NewReader(`{"success":false}`)),
	}
}

func answer200() *http.Response { return respond(http.StatusOK, "") }

// inOrder fails unless every event from the first on was taken once, in order.
func (s *counter) inOrder(t *testing.T) {
	t.Helper()
	for i, id := range s.taken {
		if !strings.HasSuffix(id, fmt.Sprintf("-%d", i+1)) {
			t.Fatalf("event %d of those taken is %s", i+1, id)
		}
	}
}

func (s *counter) config(t *testing.T, rate float64) Config {
	return Config{
		URL: "http://shop.invalid", WriteKey: "dev", Seed: 3, Rate: rate, Client: &http.Client{Transport: s},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// runFor lets the shop run for a while of virtual time and returns how long it took to close.
func runFor(t *testing.T, c Config, d time.Duration) (closing time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	began := time.Now()
	if err := Run(ctx, c); err != nil {
		t.Fatal(err)
	}
	return time.Since(began) - d
}

func TestPace(t *testing.T) {
	for _, rate := range []float64{0.5, 5, 333, 10_000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &counter{}
				seconds := min(60, 20_000/rate)
				closing := runFor(t, s.config(t, rate), time.Duration(seconds*float64(time.Second)))
				s.inOrder(t)
				want := rate * seconds
				if got := float64(len(s.taken)); math.Abs(got-want) > max(2, rate*0.02) {
					t.Errorf("%v events in %v s, want %v", got, seconds, want)
				}
				for i, d := range s.delays {
					if d > batchWait {
						t.Fatalf("event %d waited %s for its batch", i, d)
					}
				}
				for _, n := range s.sizes {
					if n > batchEvents {
						t.Errorf("a batch of %d", n)
					}
				}
				if closing > batchWait {
					t.Errorf("closing took %s", closing)
				}
			})
		})
	}
}

func TestRefusedEventsAreSentAgain(t *testing.T) {
	for name, first := range map[string]struct {
		refuse func(int) *http.Response
		fail   error
		least  time.Duration
		most   time.Duration // between two attempts, jitter included
	}{
		"503 with seconds": {refuse: func(int) *http.Response { return respond(503, "7") }, least: 7 * time.Second, most: 7500 * time.Millisecond},
		"429 with a date": {refuse: func(int) *http.Response {
			return respond(429, time.Now().Add(9*time.Second).UTC().Format(http.TimeFormat))
		}, least: 8 * time.Second, most: 9 * time.Second},
		"429 without":       {refuse: func(int) *http.Response { return respond(429, "") }, least: 100 * time.Millisecond, most: 7500 * time.Millisecond},
		"500 with nonsense": {refuse: func(int) *http.Response { return respond(500, "soon") }, least: 100 * time.Millisecond, most: 7500 * time.Millisecond},
		"503 for a year":    {refuse: func(int) *http.Response { return respond(503, "31536000") }, least: longestWait, most: longestWait},
		"no connection":     {fail: errors.New("connection refused"), least: 100 * time.Millisecond, most: 7500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const refusals = 5
				s := &counter{}
				if first.refuse != nil {
					s.refuse = func(n int) *http.Response {
						if n > refusals {
							return nil
						}
						return first.refuse(n)
					}
				}
				s.fail = func(_ *http.Request, n int) error {
					if n > refusals {
						return nil
					}
					return first.fail
				}
				runFor(t, s.config(t, 0.25), 30*time.Minute)
				s.inOrder(t)
				if len(s.taken) < 30*60/4-2 {
					t.Errorf("%d events were taken, want one every four seconds", len(s.taken))
				}
				for i := range refusals {
					if gap := s.attempts[i+1].Sub(s.attempts[i]); gap < first.least || gap > first.most {
						t.Errorf("attempt %d came %s after the one before, want %s to %s", i+2, gap, first.least, first.most)
					}
				}
			})
		})
	}
}

// While the server refuses, the shop stands still with a full queue; then it goes on at its rate.
func TestAFullQueueHoldsTheShop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, outage, after = 100, time.Hour, time.Minute
		until := time.Now().Add(outage)
		s := &counter{refuse: func(int) *http.Response {
			if time.Now().Before(until) {
				return respond(503, "2")
			}
			return nil
		}}
		runFor(t, s.config(t, rate), outage+after)
		s.inOrder(t)
		// What waited is a full queue, the batch in hand, and one event on its way into the queue.
		waited := len(s.taken) - rate*int(after/time.Second)
		if least, most := queueEvents-8*rate, queueEvents+batchEvents+2*rate; waited < least || waited > most {
			t.Errorf("%d events waited out the outage, want %d to %d", waited, least, most)
		}
	})
}

func TestWhatIsRefusedForGoodEndsTheRun(t *testing.T) {
	for status, hint := range map[int]string{401: "write key", 400: "400 Bad Request", 404: "404 Not Found"} {
		synctest.Test(t, func(t *testing.T) {
			s := &counter{refuse: func(int) *http.Response { return respond(status, "") }}
			err := Run(t.Context(), s.config(t, 5))
			if err == nil || !strings.Contains(err.Error(), hint) {
				t.Errorf("%d: error %v, want one that says %q", status, err, hint)
			}
			if len(s.attempts) != 1 {
				t.Errorf("%d: %d attempts", status, len(s.attempts))
			}
		})
	}
}

func TestClosingHandsOverWithinTwoSeconds(t *testing.T) {
	t.Run("a slow server gets the rest", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &counter{fail: func(*http.Request, int) error { time.Sleep(900 * time.Millisecond); return nil }}
			runFor(t, s.config(t, 50), 10*time.Second)
			s.inOrder(t)
			if len(s.taken) < 498 {
				t.Errorf("%d of 500 events were handed over", len(s.taken))
			}
		})
	})
	t.Run("a dead one does not hold us", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &counter{fail: func(r *http.Request, _ int) error { <-r.Context().Done(); return r.Context().Err() }}
			if closing := runFor(t, s.config(t, 50), 10*time.Second); closing > handOver {
				t.Errorf("closing took %s", closing)
			}
		})
	})
	t.Run("nor one that refuses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &counter{refuse: func(int) *http.Response { return respond(503, "60") }}
			if closing := runFor(t, s.config(t, 50), 10*time.Second); closing > handOver {
				t.Errorf("closing took %s", closing)
			}
		})
	})
}

func TestSettings(t *testing.T) {
	right := Config{URL: "http://127.0.0.1:8080/", WriteKey: "dev"}
	if err := right.Validate(); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no url":        {func(c *Config) { c.URL = "" }, "url"},
		"no scheme":     {func(c *Config) { c.URL = "127.0.0.1:8080" }, "url"},
		"no key":        {func(c *Config) { c.WriteKey = "" }, "write key"},
		"negative rate": {func(c *Config) { c.Rate = -1 }, "rate"},
		"no number":     {func(c *Config) { c.Rate = math.NaN() }, "rate"},
		"too fast":      {func(c *Config) { c.Rate = MaxRate + 1 }, "rate"},
	} {
		wrong := right
		c.change(&wrong)
		if err := Run(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one about %q", name, err, c.want)
		}
	}
}
