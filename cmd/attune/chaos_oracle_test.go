//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// shopper is a customer, and the oracle of what must have become of each of their acknowledged calls: the rules of
// testdata/chaos, written down a second time.
type shopper struct {
	user                     string
	calls                    int // tracked, numbered from 1
	views, carts, checkouts  int
	orders, cents            int
	sneakers                 int
	hot, loyal               bool
	enteredHot, leftHot      int
	cartMails, checkoutMails int
	thanks                   int
	devices                  []device
	looks, ties              int
}

// device is where a shopper looks around as a visitor, until they sign in there.
type device struct {
	looks int
	tied  bool
}

// maxDevices is below what a profile may take in a day.
const maxDevices = 8

// wander is a visitor's call on some device, or signing in there, by which two profiles become one.
func (s *shopper) wander(random *rand.Rand) string {
	n := random.IntN(min(len(s.devices)+1, maxDevices))
	if n == len(s.devices) {
		s.devices = append(s.devices, device{})
	}
	d := &s.devices[n]
	if d.looks > 0 && !d.tied && random.IntN(2) == 0 {
		d.tied = true
		s.ties++
		return fmt.Sprintf(`{"type":"identify","messageId":"tie-%[1]s-%[2]d","userId":"%[1]s","anonymousId":"%[1]s-d%[2]d"}`, s.user, n)
	}
	d.looks++
	s.looks++
	return fmt.Sprintf(`{"type":"track","messageId":"look-%[1]s-%[2]d","anonymousId":"%[1]s-d%[3]d","event":"Looked Around"}`, s.user, s.looks, n)
}

// looked is how often the customer has looked around on devices on which they are known.
func (s *shopper) looked() (sum int) {
	for _, d := range s.devices {
		if d.tied {
			sum += d.looks
		}
	}
	return sum
}

// call is the customer's next call, with what it does to the oracle once it is acknowledged.
func (s *shopper) call(random *rand.Rand) string {
	if random.IntN(8) == 0 {
		return s.wander(random)
	}
	s.calls++
	var name, properties string
	switch dice := random.IntN(100); {
	case dice < 78:
		name = "Product Viewed"
		category := []string{"sneakers", "hats"}[random.IntN(2)]
		properties = fmt.Sprintf(`"category":"%s"`, category)
		s.views++
		if category == "sneakers" {
			s.sneakers++
		}
	case dice < 94:
		name = "Order Completed"
		cents := 100 + random.IntN(9900)
		properties = fmt.Sprintf(`"order_id":"%s-%d","revenue":%d.%02d`, s.user, s.calls, cents/100, cents%100)
		s.orders++
		s.cents += cents
	case dice < 97:
		name = "Product Added"
		properties = fmt.Sprintf(`"cart_id":"%s-%d"`, s.user, s.calls)
		s.carts++
		s.cartMails++
	default:
		name = "Checkout Started"
		s.checkouts++
		s.checkoutMails++
	}
	s.judge()
	if properties != "" {
		properties = "," + properties
	}
	return fmt.Sprintf(`{"type":"track","messageId":"%s-%d","userId":"%s","event":"%s","properties":{"n":%d%s}}`,
		s.user, s.calls, s.user, name, s.calls, properties)
}

// judge works out the segments after an event.
func (s *shopper) judge() {
	hot, loyal := s.sneakers >= 2 && s.orders == 0, s.orders >= 3
	switch {
	case hot && !s.hot:
		s.enteredHot++
	case !hot && s.hot:
		s.leftHot++
	}
	if loyal && !s.loyal {
		s.thanks++
	}
	s.hot, s.loyal = hot, loyal
}

// identify is the customer's first call: without consent no mail is ordered.
func (s *shopper) identify() string {
	return fmt.Sprintf(`{"type":"identify","messageId":"%s-id","userId":"%s","traits":{"email":"%s@mail.example","first_name":"Customer"},"context":{"consent":{"categoryPreferences":{"email":true}}}}`,
		s.user, s.user, s.user)
}

// producer posts the calls of its customers, one batch at a time, each until it is acknowledged: so the order of a
// customer's acknowledged calls is that of their numbers.
type producer struct {
	ingests  []string // addresses; it changes when one does not answer
	http     http.Client
	shoppers []*shopper
	random   *rand.Rand
	retries  int
}

const (
	clientBatch = 10
	clientPause = 200 * time.Millisecond // between two batches: 50 events/s a client
	clientWaits = 3 * time.Second        // for an answer: then it asks another ingest
)

// run posts until ctx ends, and returns once the last batch is acknowledged.
func (c *producer) run(ctx context.Context) error {
	var batch []string
	for _, s := range c.shoppers {
		batch = append(batch, s.identify())
	}
	pace := time.NewTicker(clientPause)
	defer pace.Stop()
	for {
		if err := c.post(context.WithoutCancel(ctx), batch); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		batch = batch[:0]
		for range clientBatch {
			batch = append(batch, c.shoppers[c.random.IntN(len(c.shoppers))].call(c.random))
		}
	}
}

// clientPatience is how long a client may go without an answer before that is a failure of its own.
const clientPatience = 2 * time.Minute

func (c *producer) post(ctx context.Context, batch []string) error {
	body := `{"batch":[` + strings.Join(batch, ",") + `]}`
	last := ""
	for deadline := time.Now().Add(clientPatience); time.Now().Before(deadline); c.retries++ {
		status, said := c.try(ctx, body)
		switch status {
		case http.StatusOK:
			return nil
		case 0, http.StatusTooManyRequests, http.StatusServiceUnavailable:
			last = fmt.Sprint(status, " ", said)
		default:
			return fmt.Errorf("ingest answers %d to a good batch: %s", status, said)
		}
		c.ingests = append(c.ingests[1:], c.ingests[0])
		time.Sleep(50 * time.Millisecond) // a client's pause before it tries again
	}
	return fmt.Errorf("no ingest took a batch within %s; the last answer: %s", clientPatience, last)
}

func (c *producer) try(ctx context.Context, body string) (status int, said string) {
	ctx, cancel := context.WithTimeout(ctx, clientWaits)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.ingests[0]+"/v1/batch", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	request.SetBasicAuth("secret", "")
	response, err := c.http.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	if parked := response.Header.Get("Attune-Parked"); parked != "" {
		return http.StatusTeapot, parked + " calls were parked"
	}
	return response.StatusCode, string(answer)
}
