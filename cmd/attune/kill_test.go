package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Everything is killed with -9 at random moments under load and started again: every event that was
// acknowledged is in ClickHouse exactly once, every customer's count is right, no decision is doubled and no
// mail is sent twice.
func TestKillLosesAndDoublesNothing(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const customers = 20
	acknowledged := map[string]int{} // by customer
	sent := 0
	identify := func(d *dev) {
		for c := range customers {
			d.post("/v1/identify", fmt.Sprintf(`{"messageId":"id-%d","userId":"c%d","traits":{"email":"c%d@mail.example","first_name":"C%d"},"context":{"consent":{"categoryPreferences":{"email":true}}}}`, c, c, c, c))
		}
	}
	for round := range 4 {
		d := startDev(t, data, "--no-shop", "--max-wait", "1s")
		if round == 0 {
			identify(d)
		}
		end := time.Now().Add(time.Duration(1500+random.IntN(1500)) * time.Millisecond)
		for time.Now().Before(end) {
			sent++
			customer := fmt.Sprintf("c%d", random.IntN(customers))
			call := fmt.Sprintf(`{"messageId":"m%d","userId":"%s","event":"Product Added","properties":{"cart_id":"cart-%s","product_id":"p%d","name":"Thing","price":9.5,"quantity":1}}`, sent, customer, customer, random.IntN(9))
			for tries := 0; d.post("/v1/track", call) != 200; tries++ {
				if tries > 50 {
					t.Fatalf("ingest does not accept:\n%s", d.logs)
				}
				time.Sleep(20 * time.Millisecond) // a client's pause before it tries again
			}
			acknowledged[customer]++
		}
		d.kill()
	}
	d := startDev(t, data, "--no-shop", "--max-wait", "1s")
	d.eventually(40*time.Second, "every acknowledged event in ClickHouse", func() bool {
		return d.sql("SELECT uniqExact(event_id) FROM events WHERE event = 'Product Added'") == strconv.Itoa(sent)
	})
	if rows := d.sql("SELECT count() FROM events WHERE event = 'Product Added'"); rows != strconv.Itoa(sent) {
		t.Errorf("%s rows for %d events", rows, sent)
	}
	d.eventually(20*time.Second, "the profiles, whose rows come after the events'", func() bool {
		return d.sql("SELECT sum(counts['Product Added']) FROM profiles FINAL") == strconv.Itoa(sent)
	})
	for customer, want := range acknowledged {
		got := d.sql(fmt.Sprintf("SELECT counts['Product Added'] FROM profiles FINAL WHERE profile_id IN (SELECT profile_id FROM events WHERE user_id = '%s')", customer))
		if got != strconv.Itoa(want) {
			t.Errorf("customer %s counts %s additions, want %d", customer, got, want)
		}
	}
	if doubled := d.sql("SELECT count() - uniqExact(decision_id) FROM decisions"); doubled != "0" {
		t.Errorf("%s decisions are doubled", doubled)
	}
	d.eventually(30*time.Second, "an end for every fired decision", func() bool {
		return d.sql("SELECT count() FROM decisions WHERE outcome = 'fired'") == d.sql("SELECT uniqExact(decision_id) FROM messages")
	})
	for _, m := range d.mails() {
		if m.Copies > 1 {
			t.Errorf("mail %s was sent %d times", m.MessageID, m.Copies)
		}
	}
	d.interrupt()
}
