package shop

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

var opened = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// sight is one call as a server reads it.
type sight struct {
	at                                  float64 // seconds since the opening
	Type, MessageID, AnonymousID, Event string
	UserID                              string
	Properties                          struct {
		CartID   string      `json:"cart_id"`
		OrderID  string      `json:"order_id"`
		ID       string      `json:"product_id"`
		Price    json.Number `json:"price"`
		Quantity int         `json:"quantity"`
		Revenue  json.Number `json:"revenue"`
		Total    json.Number `json:"total"`
		Value    json.Number `json:"value"`
		Currency string      `json:"currency"`
		Products []struct {
			ID       string      `json:"product_id"`
			Price    json.Number `json:"price"`
			Quantity int         `json:"quantity"`
		} `json:"products"`
	}
	Traits struct {
		First string `json:"first_name"`
		Last  string `json:"last_name"`
		Email string `json:"email"`
		Plan  string `json:"plan"`
	}
	Context struct {
		Consent struct {
			CategoryPreferences struct{ Email *bool }
		}
	}
}

// watch makes n calls at a rate and reads them back.
func watch(t interface{ Fatalf(string, ...any) }, seed uint64, rate float64, n int) (*simulation, []sight) {
	s := newSimulation(seed, rate, opened)
	seen := make([]sight, n)
	for i := range seen {
		at := float64(i) / rate
		encoded, err := json.Marshal(s.next(opened.Add(time.Duration(at * float64(time.Second)))))
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		if len(encoded) > 2<<10 {
			t.Fatalf("call %d has %d bytes: a batch would be too big", i, len(encoded))
		}
		decoder := json.NewDecoder(bytes.NewReader(encoded))
		if err := decoder.Decode(&seen[i]); err != nil {
			t.Fatalf("call %d: %v: %s", i, err, encoded)
		}
		seen[i].at = at
		if len(s.visits) > maxVisits || len(s.known) > maxKnown {
			t.Fatalf("call %d: the shop remembers %d visits and %d customers", i, len(s.visits), len(s.known))
		}
	}
	return s, seen
}

// pence reads an amount without floating point.
func pence(t interface{ Fatalf(string, ...any) }, n json.Number) int {
	pounds, rest, found := strings.Cut(n.String(), ".")
	if !found || len(rest) != 2 {
		t.Fatalf("amount %q: want two decimals", n)
	}
	var sum int
	if _, err := fmt.Sscanf(pounds+rest, "%d", &sum); err != nil {
		t.Fatalf("amount %q: %v", n, err)
	}
	return sum
}

func TestTheFirstSixtyCalls(t *testing.T) {
	var got bytes.Buffer
	s := newSimulation(1, DefaultRate, opened)
	for i := range 60 {
		c, err := json.Marshal(s.next(opened.Add(time.Duration(i) * time.Second / DefaultRate)))
		if err != nil {
			t.Fatal(err)
		}
		got.Write(append(c, '\n'))
	}
	path := filepath.Join("testdata", "seed-1.golden.jsonl")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("seed 1 (-want +got):\n%s", diff)
	}
}

func TestSeedDecidesAndRunNames(t *testing.T) {
	text := func(seed uint64, start time.Time) string {
		var b strings.Builder
		s := newSimulation(seed, DefaultRate, start)
		for range 500 {
			c, err := json.Marshal(s.next(opened))
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(c, '\n'))
		}
		return strings.ReplaceAll(b.String(), s.run, "RUN")
	}
	if text(7, opened) != text(7, opened.Add(time.Hour)) {
		t.Error("the same seed did something else at another time, apart from the ids")
	}
	if text(7, opened) == text(8, opened) {
		t.Error("two seeds did the same")
	}
	if a, b := newSimulation(7, 5, opened).run, newSimulation(7, 5, opened.Add(time.Nanosecond)).run; a == b {
		t.Errorf("two runs share the name %s: the second one's events would be dropped as repeats", a)
	}
}

// Who sees only what was sent finds a shop that keeps its books: every order is what was put into its cart.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rate := rapid.SampledFrom([]float64{0.5, 5, 50, 2000}).Draw(t, "rate")
		_, seen := watch(t, seed, rate, 800)
		messages, orders, emails := map[string]bool{}, map[string]bool{}, map[string]string{}
		owner := map[string]string{}       // device: user
		consent := map[string]bool{}       // user
		introduced := map[[2]string]bool{} // device and user
		carts := map[string]map[string]int{}
		prices := map[string]int{}
		buyers := map[string][]string{} // cart: device, user
		closed := map[string]bool{}
		for i := range seen {
			c := &seen[i]
			p := &c.Properties
			fail := func(format string, args ...any) {
				t.Fatalf("call %d (%s %s of %s/%s): %s", i, c.Type, c.Event, c.AnonymousID, c.UserID, fmt.Sprintf(format, args...))
			}
			if messages[c.MessageID] || c.MessageID == "" || c.AnonymousID == "" {
				fail("message id %q is empty or used, or no device", c.MessageID)
			}
			messages[c.MessageID] = true
			if c.Type == "identify" {
				introduced[[2]string{c.AnonymousID, c.UserID}] = true
				if c.Traits.First == "" || c.Traits.Last == "" || c.Traits.Plan == "" || !strings.HasSuffix(c.Traits.Email, ".example") {
					fail("traits %+v", c.Traits)
				}
				if user, taken := emails[c.Traits.Email]; taken && user != c.UserID {
					fail("%s is %s's address", c.Traits.Email, user)
				}
				emails[c.Traits.Email] = c.UserID
				if said := c.Context.Consent.CategoryPreferences.Email; said != nil {
					consent[c.UserID] = *said
				}
			}
			if c.UserID != "" {
				if !introduced[[2]string{c.AnonymousID, c.UserID}] {
					fail("user on a device without an identify")
				}
				if known, ok := owner[c.AnonymousID]; ok && known != c.UserID {
					fail("the device is %s's", known)
				}
				owner[c.AnonymousID] = c.UserID
			} else if owner[c.AnonymousID] != "" {
				fail("anonymous on a device where %s is signed in", owner[c.AnonymousID])
			}
			if id := p.CartID; id != "" {
				if closed[id] {
					fail("cart %s was ordered", id)
				}
				buyers[id] = append(buyers[id], c.AnonymousID)
				if c.UserID != "" {
					buyers[id] = append(buyers[id], c.UserID)
				}
			}
			switch c.Event {
			case "Product Added":
				if carts[p.CartID] == nil {
					carts[p.CartID] = map[string]int{}
				}
				carts[p.CartID][p.ID] += p.Quantity
				prices[p.ID] = pence(t, p.Price)
			case "Checkout Started", "Order Completed":
				sum, held := 0, map[string]int{}
				for _, l := range p.Products {
					sum += pence(t, l.Price) * l.Quantity
					held[l.ID] += l.Quantity
					if prices[l.ID] != pence(t, l.Price) {
						fail("%s costs %s, not what it cost when it was added", l.ID, l.Price)
					}
				}
				if diff := cmp.Diff(carts[p.CartID], held); diff != "" || len(held) == 0 {
					fail("products differ from the cart %s (-cart +order):\n%s", p.CartID, diff)
				}
				if c.UserID == "" || p.Currency != "GBP" {
					fail("currency %q", p.Currency)
				}
				if c.Event == "Checkout Started" {
					if pence(t, p.Value) != sum {
						fail("value %s, products cost %d pence", p.Value, sum)
					}
					break
				}
				if pence(t, p.Revenue) != sum || pence(t, p.Total) != sum {
					fail("revenue %s, total %s, products cost %d pence", p.Revenue, p.Total, sum)
				}
				if orders[p.OrderID] || p.OrderID == "" {
					fail("order id %q", p.OrderID)
				}
				orders[p.OrderID], closed[p.CartID] = true, true
			case "Unsubscribed":
				if !consent[c.UserID] {
					fail("took back a consent that was not given")
				}
				consent[c.UserID] = false
			}
		}
		for cart, ids := range buyers {
			customer := ""
			for _, id := range ids {
				if user, ok := owner[id]; ok {
					id = user
				}
				if customer == "" {
					customer = id
				} else if id != customer {
					t.Fatalf("cart %s belongs to %s and to %s", cart, customer, id)
				}
			}
		}
	})
}

// Buyers order within the 20 s that the campaign for abandoned carts waits in dev; who leaves, leaves.
func TestCartsAreBoughtSoonOrLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, seen := watch(t, rapid.Uint64().Draw(t, "seed"), DefaultRate, 800)
		added, wait := map[string]float64{}, 20.0
		for _, c := range seen {
			cart := c.Properties.CartID
			if _, known := added[cart]; c.Event == "Product Added" && !known {
				added[cart] = c.at
			}
			if c.Event != "Order Completed" {
				continue
			}
			if after := c.at - added[cart]; after >= wait && after < restSeconds {
				t.Fatalf("%s was ordered %.1f s after its first product", cart, after)
			}
		}
	})
}

// abandoned are the carts with an owner who had consented and did not order within 45 s, by the second of the
// first product.
func abandoned(seen []sight) map[string]float64 {
	consent, carts := map[string]bool{}, map[string]float64{}
	for _, c := range seen {
		if said := c.Context.Consent.CategoryPreferences.Email; said != nil {
			consent[c.UserID] = *said
		}
		switch cart := c.Properties.CartID; {
		case c.Event == "Product Added" && consent[c.UserID]:
			if _, known := carts[cart]; !known {
				carts[cart] = c.at
			}
		case c.Event == "Order Completed":
			if c.at-carts[cart] < 45 {
				delete(carts, cart)
			}
		}
	}
	return carts
}

func TestNewcomersSoonSeeAnAbandonedCart(t *testing.T) {
	for seed := range uint64(25) {
		_, seen := watch(t, seed, DefaultRate, 60*DefaultRate)
		early := 0
		for _, at := range abandoned(seen) {
			if at <= 6 {
				early++
			}
		}
		if early < 2 {
			t.Errorf("seed %d: %d carts were abandoned in the first 6 s by customers with consent, want 2", seed, early)
		}
	}
}

// Each kind of thing that a dev session is to show happens within ten minutes, for any seed.
func TestVariety(t *testing.T) {
	for seed := range uint64(8) {
		_, seen := watch(t, seed, DefaultRate, 10*60*DefaultRate)
		count := map[string]int{}
		devices, users := map[string]map[string]bool{}, map[string]int{}
		for _, c := range seen {
			name := c.Event
			if name == "" {
				name = c.Type
			}
			count[name]++
			if said := c.Context.Consent.CategoryPreferences.Email; said != nil {
				count[fmt.Sprint("consent ", *said)]++
			}
			if c.UserID == "" {
				count["anonymous"]++
				continue
			}
			if devices[c.UserID] == nil {
				devices[c.UserID] = map[string]bool{}
			}
			devices[c.UserID][c.AnonymousID] = true
			if c.Event == "Order Completed" {
				users[c.UserID]++
			}
		}
		for _, d := range devices {
			if len(d) > 1 {
				count["another device"]++
			}
		}
		for _, n := range users {
			if n > 1 {
				count["ordered again"]++
			}
		}
		count["abandoned"] = len(abandoned(seen))
		for name, least := range map[string]int{
			"page": 100, "identify": 80, "Product List Viewed": 20, "Product Viewed": 600, "Product Added": 160, "Checkout Started": 80,
			"Order Completed": 60, "Unsubscribed": 1, "consent true": 60, "consent false": 6, "anonymous": 600,
			"another device": 1, "ordered again": 1, "abandoned": 30,
		} {
			if count[name] < least {
				t.Errorf("seed %d: %d of %q, want at least %d", seed, count[name], name, least)
			}
		}
		if seed == 0 {
			t.Log(count)
		}
	}
}
