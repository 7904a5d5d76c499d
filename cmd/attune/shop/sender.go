package shop

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	batchEvents = 200                    // of at most 2 KB each: below the API's limit of 500 KB a batch
	batchWait   = 200 * time.Millisecond // from its first event
	longestWait = 5 * time.Minute        // that a server may ask for
)

// sender takes events from the queue and hands them over in batches, in order, each until it was taken.
type sender struct {
	url    string
	key    string
	client *http.Client
	now    func() time.Time
	log    *slog.Logger
	queue  <-chan json.RawMessage
}

func batchURL(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("shop: url %q: want the ingest's address, such as http://127.0.0.1:8080", base)
	}
	return u.JoinPath("v1", "batch").String(), nil
}

// run returns when the queue is closed and empty, when the server refuses for good, or when ctx is done before a
// batch was taken: unsent counts that batch's events.
func (s *sender) run(ctx context.Context) (unsent int, err error) {
	for {
		batch := s.collect()
		if len(batch) == 0 {
			return 0, nil
		}
		if err := s.deliver(ctx, batch); err != nil {
			return len(batch), err
		}
	}
}

// collect waits for a first event, and then for more until the batch is full or its time is over. Nothing: the
// queue is closed.
func (s *sender) collect() (batch []json.RawMessage) {
	first, ok := <-s.queue
	if !ok {
		return nil
	}
	batch = append(batch, first)
	timer := time.NewTimer(batchWait)
	defer timer.Stop()
	for len(batch) < batchEvents {
		select {
		case e, ok := <-s.queue:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		case <-timer.C:
			return batch
		}
	}
	return batch
}

// deliver sends a batch until it is taken. The message ids stay the same, so a batch that was taken without our
// hearing of it does no harm.
func (s *sender) deliver(ctx context.Context, batch []json.RawMessage) error {
	pause := &patience{BackOff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))}
	attempt := func() error {
		asked, err := s.post(ctx, batch)
		pause.asked = asked
		return err
	}
	err := backoff.RetryNotify(attempt, backoff.WithContext(pause, ctx), func(err error, wait time.Duration) {
		s.log.WarnContext(ctx, "shop: events were not taken, trying again", "events", len(batch), "wait", wait, "error", err)
	})
	if err != nil {
		return fmt.Errorf("shop: send %d events: %w", len(batch), err)
	}
	s.log.DebugContext(ctx, "shop: sent", "events", len(batch))
	return nil
}

// patience waits as long as the server asked, and at least as long as its own back-off says.
type patience struct {
	backoff.BackOff
	asked time.Duration
}

func (p *patience) NextBackOff() time.Duration {
	own := p.BackOff.NextBackOff()
	if own == backoff.Stop {
		return own
	}
	return max(own, min(p.asked, longestWait))
}

// post makes one attempt. An error that is not permanent is worth another one, after the pause that the server asked for.
func (s *sender) post(ctx context.Context, batch []json.RawMessage) (asked time.Duration, err error) {
	body, err := encode(batch, s.now())
	if err != nil {
		return 0, backoff.Permanent(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return 0, backoff.Permanent(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	request.SetBasicAuth(s.key, "")
	response, err := s.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return 0, fmt.Errorf("read the reply: %w", err)
	}
	if parked := response.Header.Get("Attune-Parked"); parked != "" && parked != "0" {
		s.log.WarnContext(ctx, "shop: events were parked as unusable", "events", parked)
	}
	status := response.StatusCode
	if status >= 200 && status < 300 {
		return 0, nil
	}
	refused := fmt.Errorf("the server answered %s: %s", response.Status, strings.TrimSpace(string(said)))
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return 0, backoff.Permanent(fmt.Errorf("%w (is the write key right?)", refused))
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return retryAfter(response.Header.Get("Retry-After"), s.now()), refused
	default:
		return 0, backoff.Permanent(refused)
	}
}

// encode writes a batch, gzipped. sentAt is the attempt's own instant: by it the server corrects a wrong clock.
func encode(batch []json.RawMessage, now time.Time) ([]byte, error) {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	err := json.NewEncoder(zip).Encode(struct {
		SentAt time.Time         `json:"sentAt"`
		Batch  []json.RawMessage `json:"batch"`
	}{now.UTC().Round(0), batch})
	if err := errors.Join(err, zip.Close()); err != nil {
		return nil, fmt.Errorf("encode a batch: %w", err)
	}
	return b.Bytes(), nil
}

// retryAfter reads the header: seconds, or an HTTP date. What can't be read asks for nothing.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
