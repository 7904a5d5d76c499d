package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// DefaultRate is how many events a second the shop makes where no rate is given.
const DefaultRate = 5

// MaxRate is the most events a second that may be asked for.
const MaxRate = 10_000

const (
	queueEvents = 2_000           // waiting to be sent; when it is full, the shop stands still
	handOver    = 2 * time.Second // that what is still queued may take once ctx is done
	httpTimeout = 30 * time.Second
)

// Config says where the shop sends and how busy it is.
type Config struct {
	// URL is the base address of the Segment HTTP API, such as http://127.0.0.1:8080. Required.
	URL string
	// WriteKey is shown with each batch. Required.
	WriteKey string
	// Seed decides who comes and what they do.
	Seed uint64
	// Rate is in events a second, above 0 and up to [MaxRate]. 0 is [DefaultRate].
	Rate float64
	// Client sends. Nil: one of the shop's own, with a timeout of 30 s. It is safe to share.
	Client *http.Client
	// Now stamps the events and batches. Nil: time.Now. Called by two goroutines at once.
	Now func() time.Time
	// Log gets a line for each batch at debug and for each refusal at warn. Nil: silent.
	Log *slog.Logger
}

// Validate says what is wrong with the settings.
func (c Config) Validate() error {
	_, err := batchURL(c.URL)
	if c.WriteKey == "" {
		err = errors.Join(err, errors.New("shop: write key is empty: give one that the ingest knows"))
	}
	if !(c.Rate >= 0 && c.Rate <= MaxRate) { // NaN, too
		err = errors.Join(err, fmt.Errorf("shop: rate %v: want events a second, above 0 and up to %d", c.Rate, MaxRate))
	}
	return err
}

// Run lets customers come until ctx is done; it then returns nil, after up to 2 s in which it hands over what is
// still queued. What the server refuses for a while is sent again until it is taken: nothing is dropped, and the
// shop stands still while 2,000 events wait. An error says that the settings are wrong or that the server refuses
// for good, such as an unknown write key.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Rate == 0 {
		c.Rate = DefaultRate
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Client == nil {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: time.Minute}
		defer transport.CloseIdleConnections()
		c.Client = &http.Client{Transport: transport, Timeout: httpTimeout}
	}
	address, err := batchURL(c.URL)
	if err != nil {
		return err
	}
	queue := make(chan json.RawMessage, queueEvents)
	s := &sender{url: address, key: c.WriteKey, client: c.Client, now: c.Now, log: c.Log, queue: queue}

	open, closeShop := context.WithCancelCause(ctx)
	defer closeShop(nil)
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	done := make(chan struct{})
	var failure error
	unsent := 0
	go func() {
		defer close(done)
		unsent, failure = s.run(sending)
		closeShop(failure)
	}()

	made := produce(open, newSimulation(c.Seed, c.Rate, c.Now()), c.Now, queue)
	close(queue)
	last := time.AfterFunc(handOver, giveUp)
	defer last.Stop()
	<-done
	if ctx.Err() == nil { // the sender gave up by itself
		return failure
	}
	if lost := unsent + len(queue); lost > 0 {
		c.Log.WarnContext(ctx, "shop: closed before all events were taken", "events", lost, "error", failure)
	}
	c.Log.DebugContext(ctx, "shop: closed", "events", made)
	return nil
}

// produce puts the simulation's events into the queue at its rate until ctx is done. It waits while the queue is
// full, and then goes on at the rate instead of catching up.
func produce(ctx context.Context, s *simulation, now func() time.Time, queue chan<- json.RawMessage) (made int) {
	const tick = 10 * time.Millisecond // finer than that, events come in little bunches
	interval := time.Duration(float64(time.Second) / s.rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := time.Now() // the instant of the next event
	for {
		select {
		case <-ctx.Done():
			return made
		case <-timer.C:
		}
		for !next.After(time.Now()) {
			if time.Since(next) > time.Second { // it stood still, or the machine slept
				next = time.Now()
			}
			c := s.next(now())
			encoded, err := json.Marshal(c)
			if err != nil { // text and numbers only: can't happen
				panic(fmt.Sprintf("shop: encode %s: %v", c.MessageID, err))
			}
			select {
			case queue <- encoded:
			case <-ctx.Done():
				return made
			}
			made++
			next = next.Add(interval)
		}
		timer.Reset(max(time.Until(next), tick))
	}
}
