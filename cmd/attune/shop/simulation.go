package shop

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Bounds of what the shop remembers.
const (
	maxVisits = 200 // customers inside at the same time
	maxKnown  = 300 // customers who may come again
	maxLines  = 6   // of a cart: who holds more comes to check out
)

const (
	restSeconds = 45 // between two visits: a cart that was left is left
	bareCrowd   = 5  // known customers before any of them comes again
)

// simulation is the shop and its customers. It is a function of the seed; the clock only stamps. One goroutine uses it.
type simulation struct {
	random     *rand.Rand
	run        string  // tells the ids of this run from those of others
	rate       float64 // events a virtual second
	events     uint64  // made so far
	arrivals   int
	customers  int // who signed up
	carts      int
	orders     int
	devices    int
	products   map[string][]product
	categories []string
	visits     []*visit    // in order of arrival
	known      []*customer // the oldest is replaced first
	oldest     int
}

func newSimulation(seed uint64, rate float64, start time.Time) *simulation {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%d", seed, start.UnixNano()))
	return &simulation{
		random:     rand.New(rand.NewPCG(seed, 0x5a0b)),
		run:        strings.ToLower(base32.StdEncoding.EncodeToString(sum[:4]))[:6],
		rate:       rate,
		products:   catalogue(),
		categories: categories(),
	}
}

// next is the next call that any customer makes, stamped with now.
func (s *simulation) next(now time.Time) call {
	clock := float64(s.events) / s.rate
	s.events++
	v := s.turn(clock)
	st := v.steps[0]
	v.steps = v.steps[1:]
	c := s.do(v.customer, st)
	c.Timestamp = now.UTC().Round(0)
	c.MessageID = fmt.Sprintf("shop-%s-%d", s.run, s.events)
	if len(v.steps) == 0 {
		s.leave(v, clock)
		return c
	}
	least, most := v.steps[0].action.pause()
	if v.brisk {
		least, most = 0.8, 1
	}
	v.due = clock + least + s.random.Float64()*(most-least)
	return c
}

// turn is the visit whose step is due first; when none is due yet, somebody arrives.
func (s *simulation) turn(clock float64) *visit {
	var first *visit
	for _, v := range s.visits {
		if first == nil || v.due < first.due {
			first = v
		}
	}
	if first != nil && (first.due <= clock || len(s.visits) == maxVisits) {
		return first
	}
	v := s.arrive(clock)
	s.visits = append(s.visits, v)
	return v
}

func (s *simulation) arrive(clock float64) *visit {
	n := s.arrivals
	s.arrivals++
	steps, favourite, scripted := s.opening(n)
	if scripted {
		c := s.stranger(favourite)
		return &visit{customer: c, steps: steps, due: clock, brisk: true}
	}
	if c := s.again(clock); c != nil {
		c.inside = true
		return &visit{customer: c, steps: s.planReturn(c), due: clock}
	}
	c := s.stranger(pick(s, s.categories))
	return &visit{customer: c, steps: s.planNew(c), due: clock}
}

// again is a known customer who comes back, or nil.
func (s *simulation) again(clock float64) *customer {
	if len(s.known) < bareCrowd || s.random.Float64() >= 0.45 {
		return nil
	}
	c := pick(s, s.known)
	if c.inside || clock-c.left < restSeconds {
		return nil
	}
	if s.random.Float64() < 0.2 { // on another device
		c.anonymous, c.signedIn = s.device(), false
	}
	return c
}

func (s *simulation) stranger(favourite string) *customer {
	zone := pick(s, []string{"Europe/London", "Europe/London", "Europe/London", "Europe/Dublin", "Europe/Berlin", "Europe/Paris"})
	return &customer{
		anonymous: s.device(), favourite: favourite, inside: true,
		locale: "en-GB", timezone: zone,
		ip: fmt.Sprintf("203.0.113.%d", 1+s.random.IntN(254)), // a range reserved for documentation
		agent: pick(s, []string{
			"Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X)",
			"Mozilla/5.0 (Linux; Android 16)",
			"Mozilla/5.0 (Macintosh; Intel Mac OS X 15_2)",
			"Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
		}),
	}
}

func (s *simulation) device() string {
	s.devices++
	return fmt.Sprintf("device-%s-%d", s.run, s.devices)
}

// leave ends a visit. Who never said who they are won't be known again.
func (s *simulation) leave(v *visit, clock float64) {
	v.customer.inside, v.customer.left = false, clock
	s.visits = slices.DeleteFunc(s.visits, func(o *visit) bool { return o == v })
}

// remember keeps a customer who signed up, in place of the oldest when there are too many.
func (s *simulation) remember(c *customer) {
	if len(s.known) < maxKnown {
		s.known = append(s.known, c)
		return
	}
	s.known[s.oldest] = c
	s.oldest = (s.oldest + 1) % maxKnown
}
