package ingest

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/stages/ingest/mapping"
)

// atEntrances is a bench with one entrance for each of the mappings that come with Attune; their secret is hush.
func atEntrances(t testing.TB, change func(*Config, *Deps)) *bench {
	return newBench(t, func(c *Config, d *Deps) {
		for _, name := range mapping.Shipped() {
			c.Entrances = append(c.Entrances, Entrance{Name: name, Mapping: name, Secret: "hush"})
		}
		if change != nil {
			change(c, d)
		}
	})
}

func signedFor(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (b *bench) shopify(topic, body string) int {
	return b.do(http.MethodPost, "/v1/in/shopify", body, "X-Shopify-Topic", topic, "X-Shopify-Webhook-Id", "w", "X-Shopify-Hmac-Sha256", signedFor("hush", body)).Code
}

func TestEntranceTakes(t *testing.T) {
	b := atEntrances(t, func(c *Config, _ *Deps) { c.Entrances[2].Path = "/mp/collect" })
	if code := b.shopify("customers/update", `{"id": 7, "email": "a@b.example", "updated_at": "2026-11-23T10:00:00Z"}`); code != 200 {
		t.Fatalf("shopify: %d", code)
	}
	for _, c := range [][]string{
		{"/v1/in/cloudevents", `[{"specversion":"1.0","id":"1","source":"/s","type":"A","subject":"u1"},{"specversion":"1.0","id":"2","source":"/s","type":"B","subject":"u2"}]`, "Authorization", "Bearer hush", "Content-Type", "application/cloudevents-batch+json"},
		{"/mp/collect?api_secret=hush&measurement_id=G-1", `{"client_id":"c","events":[{"name":"login"}]}`},
		{"/v1/in/contacts/", "id,email\n9,x@y.example\n", "Authorization", "Bearer hush", "Content-Type", "text/csv"},
		{"/v1/in/webhook", `{"event":"E","user_id":5,"sentAt":1}`, "Authorization", "Bearer hush", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	} {
		if w := b.do(http.MethodPost, c[0], c[1], c[2:]...); w.Code != 200 || w.Header().Get(parkedHeader) != "" {
			t.Errorf("%s: %d %s", c[0], w.Code, w.Body)
		}
	}
	var keys []string
	for _, r := range b.log.records {
		keys = append(keys, r.Key)
		if !r.Accepted.Equal(noon) {
			t.Errorf("%s: accepted %s", r.Payload, r.Accepted)
		}
	}
	if diff := cmp.Diff([]string{"7", "u1", "u2", "c", "9", "5"}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if last := b.log.records[5]; last.Trace == "" {
		t.Error("the trace is lost")
	}
	if len(b.dead.letters) > 0 {
		t.Errorf("parked: %v", b.dead.letters)
	}
}

func TestEntranceRefusesStrangers(t *testing.T) {
	b := atEntrances(t, nil)
	const body = `{"id": 7, "updated_at": "2026-11-23T10:00:00Z"}`
	for name, c := range map[string][]string{
		"no signature":        {"/v1/in/shopify", "X-Shopify-Topic", "customers/update"},
		"another's signature": {"/v1/in/shopify", "X-Shopify-Topic", "customers/update", "X-Shopify-Hmac-Sha256", signedFor("other", body)},
		"another body's":      {"/v1/in/shopify", "X-Shopify-Topic", "customers/update", "X-Shopify-Hmac-Sha256", signedFor("hush", body+" ")},
		"no token":            {"/v1/in/webhook"},
		"a write key":         {"/v1/in/webhook", "Authorization", "Basic ZGV2Og=="},
		"another token":       {"/v1/in/contacts", "Authorization", "Bearer hus"},
	} {
		w := b.do(http.MethodPost, c[0], body, c[1:]...)
		if a := decode(t, w); w.Code != 401 || a.Error == nil || a.Error.Code != codeNotAuthenticated {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := b.do(http.MethodPost, "/v1/in/nobody", body); w.Code != 404 {
		t.Errorf("an unknown entrance: %d", w.Code)
	}
	if w := b.do(http.MethodGet, "/v1/in/shopify", ""); w.Code != 405 {
		t.Errorf("GET: %d", w.Code)
	}
	if w := b.do(http.MethodOptions, "/v1/in/cloudevents", "", "WebHook-Request-Origin", "eventemitter.example.com", "WebHook-Request-Rate", "120"); w.Code != 204 ||
		w.Header().Get("WebHook-Allowed-Origin") != "eventemitter.example.com" || w.Header().Get("WebHook-Allowed-Rate") != "120" {
		t.Errorf("the handshake of webhooks: %d %v", w.Code, w.Header())
	}
	if len(b.log.records) > 0 || len(b.dead.letters) > 0 {
		t.Errorf("a stranger left %v %v", b.log.records, b.dead.letters)
	}
}

// A payload that can't be used is answered 200 once it is parked, and a mended mapping makes of it what it should
// have been, with the ids that its other calls have had.
func TestEntranceParksAndMaps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	write := func(amount string) {
		t.Helper()
		text := "name: mine\nauthenticate: {token: {query: key}}\nheaders: [X-Kind]\nquery: [shop]\neach: .[]\ncalls:\n" +
			"  - event: \\($headers[\"x-kind\"])\n    user: .u\n    properties:\n      amount: " + amount + "\n      shop: $query.shop\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".a | tonumber")
	entrances := []Entrance{{Name: "erp", Mapping: file, Secret: "s"}}
	b := newBench(t, func(c *Config, _ *Deps) { c.Entrances = entrances })
	w := b.do(http.MethodPost, "/v1/in/erp?key=s&shop=x", `[{"u": 1, "a": "7"}, {"u": 2, "a": "personal"}]`, "X-Kind", "Paid")
	if w.Code != 200 || w.Header().Get(parkedHeader) != "1" || len(b.log.records) != 1 || len(b.dead.letters) != 1 {
		t.Fatalf("%d %s, %d records, letters %v", w.Code, w.Body, len(b.log.records), b.dead.letters)
	}
	letter := b.dead.letters[0]
	if letter.Reason != "erp/"+mapping.ReasonFailed || !strings.Contains(letter.Err, "mine.yaml:10: item 1: calls[0].properties.amount") || strings.Contains(letter.Err, "personal") {
		t.Errorf("%+v", letter)
	}
	if strings.Contains(letter.Payload, `"s"`) {
		t.Errorf("the secret is parked too: %s", letter.Payload)
	}
	write(".a")
	c := DefaultConfig()
	c.Entrances = entrances
	again, reason, problems, err := c.Again(t.Context(), "erp", []byte(letter.Payload))
	if err != nil || problems != nil || reason != "" || len(again) != 2 {
		t.Fatalf("%v %q %v %v", again, reason, problems, err)
	}
	if !again[1].Accepted.Equal(noon) || !strings.Contains(string(again[1].Payload), `"event":"Paid","properties":{"amount":"personal","shop":"x"}`) {
		t.Errorf("%s, accepted %s", again[1].Payload, again[1].Accepted)
	}
	id := func(payload []byte) string { s, _, _ := strings.Cut(string(payload), `","userId"`); return s }
	if id(again[0].Payload) != id(b.log.records[0].Payload) {
		t.Errorf("the same call is %s and then %s", b.log.records[0].Payload, again[0].Payload)
	}
	if _, _, _, err := c.Again(t.Context(), "gone", []byte(letter.Payload)); err == nil {
		t.Error("an entrance that is gone maps")
	}
}

func TestEntranceGarbage(t *testing.T) {
	b := atEntrances(t, nil)
	big := strings.Repeat("\x00\xff{[\"", 1<<20/5)
	for _, body := range []string{big, big[:500<<10], strings.Repeat("[", 400<<10), "", "null", "{}"} {
		for _, name := range mapping.Shipped() {
			records, letters := len(b.log.records), len(b.dead.letters)
			w := b.do(http.MethodPost, "/v1/in/"+name+"?api_secret=hush", body, "Authorization", "Bearer hush", "X-Shopify-Hmac-Sha256", signedFor("hush", body))
			parked := len(b.dead.letters) - letters
			if len(b.log.records) > records || w.Code != 200 && w.Code != 400 || w.Code == 200 && parked != 1 || w.Code == 400 && (parked != 0 || len(body) < 500<<10) {
				t.Errorf("%s, %d bytes: %d %s, %d parked", name, len(body), w.Code, w.Body, parked)
			}
		}
	}
	for _, l := range b.dead.letters {
		r, received, err := mapping.Unpark([]byte(l.Payload))
		if err != nil || !received.Equal(noon) || l.Err == "" {
			t.Errorf("%.80s: %v, %v", l.Payload, received, err)
		}
		if len(l.Payload) > 700<<10 {
			t.Errorf("%d bytes are parked as %d", len(r.Body), len(l.Payload))
		}
	}
}

func TestEntranceWhenTheLogIsDown(t *testing.T) {
	b := atEntrances(t, nil)
	b.log.fail = func(context.Context) error { return errors.New("down") }
	if code := b.shopify("customers/update", `{"id": 7, "updated_at": "2026-11-23T10:00:00Z"}`); code != 503 {
		t.Errorf("the log is down: %d", code)
	}
	b = atEntrances(t, nil)
	b.dead.fail = errors.New("down")
	if code := b.shopify("products/update", `{"id": 7}`); code != 503 {
		t.Errorf("the dead letters are down: %d", code)
	}
	var within time.Duration
	b = atEntrances(t, nil)
	b.log.fail = func(ctx context.Context) error {
		deadline, _ := ctx.Deadline()
		within = time.Until(deadline)
		return nil
	}
	b.shopify("customers/update", `{"id": 7, "updated_at": "2026-11-23T10:00:00Z"}`)
	if within <= 0 || within > storingTime {
		t.Errorf("storing may take %s: Shopify waits five seconds in all", within)
	}
}

func TestEntranceSettings(t *testing.T) {
	c := DefaultConfig()
	c.Entrances = []Entrance{
		{Name: "Shop", Mapping: "", Secret: "a", SecretFile: "b", Path: "/v1/x", Country: "Atlantis", Timezone: "Mars"},
		{Name: "a", Mapping: "ga4", Path: "/x y"}, {Name: "a", Mapping: "ga4", Secret: "s", Path: "/mp/collect"}, {Name: "b", Mapping: "ga4", Secret: "hunter2", Path: "/mp/collect"},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("all is right")
	}
	for _, want := range []string{"entrances[0].name", "entrances[0].mapping", "entrances[0].secret", "entrances[0].path", "entrances[0].country", "entrances[0].timezone",
		"entrances[1].secret", "entrances[1].path", "entrances[2].name", "entrances[3].path"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing of %s in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("a secret is told")
	}
	for _, e := range []Entrance{{Name: "a", Mapping: "missing.yaml", Secret: "s"}, {Name: "a", Mapping: "ga4", SecretFile: filepath.Join(t.TempDir(), "none")}} {
		cfg := DefaultConfig()
		cfg.WriteKeys, cfg.Entrances = []WriteKey{{Name: "w", Key: "k"}}, []Entrance{e}
		if _, err := Handler(cfg, &memoryLog{}, &memoryDead{}, Deps{Now: time.Now, NewID: func() string { return "" }}); err == nil {
			t.Errorf("%+v opens", e)
		}
	}
}

// A GA4 request that a client sends again is known by its events' time; the same event twice in one request is two.
func TestGA4Repeats(t *testing.T) {
	ids := func(body string) []string {
		b := atEntrances(t, func(_ *Config, d *Deps) { d.NewID = rand.Text })
		for range 2 {
			if w := b.do(http.MethodPost, "/v1/in/ga4?api_secret=hush&measurement_id=G-1", body); w.Code != 200 || w.Header().Get(parkedHeader) != "" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		var ids []string
		for _, r := range b.log.records {
			var c struct{ MessageID string }
			if err := json.Unmarshal(r.Payload, &c); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, c.MessageID)
		}
		return ids
	}
	const views = `"events":[{"name":"view_item","params":{"a":1}},{"name":"view_item","params":{"a":1}},{"name":"view_item","params":{"a":2}}]}`
	timed := ids(`{"client_id":"c","timestamp_micros":"1777636800000000",` + views)
	if len(timed) != 6 || !slices.Equal(timed[:3], timed[3:]) || len(slices.Compact(slices.Sorted(slices.Values(timed)))) != 3 {
		t.Errorf("with a time: %q", timed)
	}
	if other := ids(`{"client_id":"d","timestamp_micros":"1777636800000000",` + views); slices.Contains(timed, other[0]) {
		t.Errorf("another client's event has the id %s too", other[0])
	}
	if untimed := ids(`{"client_id":"c",` + views); len(slices.Compact(slices.Sorted(slices.Values(untimed)))) != 6 {
		t.Errorf("without a time: %q", untimed)
	}
}

func TestEntranceNeedsAuthentication(t *testing.T) {
	file := filepath.Join(t.TempDir(), "open.yaml")
	if err := os.WriteFile(file, []byte("name: open\ncalls: [{event: E, user: .id}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Entrance{Name: "open", Mapping: file, Secret: "hush"}).open(); err == nil || !strings.Contains(err.Error(), "authenticate: {token:") {
		t.Errorf("got %v", err)
	}
}
