package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline/topology"
)

// ask asks for a profile with a token; empty: without one.
func (d *dev) ask(path, token string) (status int, answer map[string]any) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, d.IngestURL+"/v1/profiles/"+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		d.t.Fatalf("GET %s: %d %s", path, resp.StatusCode, body)
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		d.t.Errorf("GET %s may be cached", path)
	}
	return resp.StatusCode, answer
}

// What a customer has done is in the profile at once, by the API and by the command, with the timeline of what changed
// it; personal fields come only to who asks for them and may see them.
func TestProfiles(t *testing.T) {
	t.Setenv("ATTUNE_API__TOKENS", "[{name: shop, token: shop-token, scopes: [profiles]}, {name: support, token: support-token, scopes: [profiles, personal]}]")
	d := startDev(t, filepath.Join(t.TempDir(), "data"), "--no-shop")
	for _, call := range [][2]string{
		{"/v1/identify", `{"userId":"ada","anonymousId":"laptop","traits":{"email":"ada@mail.example","plan":"pro"},"context":{"timezone":"Europe/Rome","consent":{"categoryPreferences":{"email":true}}}}`},
		{"/v1/batch", `{"batch":[
			{"type":"track","userId":"ada","timestamp":"NOW-2s","event":"Product Viewed","properties":{"product_id":"p1","category":"sneakers","brand":"Acme","price":89.9}},
			{"type":"track","userId":"ada","timestamp":"NOW-1s","event":"Order Completed","properties":{"revenue":160,"currency":"GBP","coupon":"TEN","products":[{"category":"sneakers","price":80,"quantity":2}]}},
			{"type":"track","userId":"ada","timestamp":"NOW","event":"Product Added","properties":{"product_id":"p2","category":"boots","price":50,"quantity":2}}]}`},
	} {
		body := strings.NewReplacer("NOW-1s", stamp(-time.Second), "NOW-2s", stamp(-2*time.Second), "NOW", stamp(0)).Replace(call[1])
		if status := d.post(call[0], body); status != 200 {
			t.Fatalf("POST %s: %d", call[0], status)
		}
	}
	var ada map[string]any
	d.eventually(20*time.Second, "Ada's profile", func() bool {
		status, answer := d.ask("user:ada", "shop-token")
		ada = answer
		events, _ := answer["events"].(map[string]any)
		traits, _ := answer["traits"].(map[string]any) // from another partition: her anonymous id's
		return status == http.StatusOK && len(events) == 3 && len(traits) > 0
	})
	text, err := json.Marshal(ada)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"lifecycle":"new"`, `"tier":"silver"`, `"net":160.00`, `"recency_days":0`, `"currency":"GBP"`, `"category":"sneakers"`, `"discounted":1`, `"zone":"Europe/Rome"`,
		`"product_id":"p2","quantity":2`, `"plan":"pro"`, `"email":{"at":`, `"brand":{"Acme":1}`,
	} {
		if !strings.Contains(strings.ReplaceAll(string(text), `160,`, `160.00,`), want) {
			t.Errorf("the profile does not say %s:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "ada@") || ada["personal"] != nil {
		t.Errorf("the profile holds personal fields:\n%s", text)
	}
	id := ada["id"].(string)

	if _, answer := d.ask(id+"?personal=true", "support-token"); !strings.Contains(jsonText(t, answer["personal"]), `"email":"ada@mail.example"`) {
		t.Errorf("who may see personal fields gets %v", answer["personal"])
	}
	if _, answer := d.ask("anonymous:laptop", "support-token"); answer["id"] != id || answer["personal"] != nil {
		t.Errorf("by the anonymous id: %v", answer)
	}
	for _, tt := range []struct {
		path, token string
		status      int
		says        string
	}{
		{id, "", 401, "Authorization: Bearer TOKEN"},
		{id, "dev", 401, "write keys"},
		{id + "?personal=true", "shop-token", 403, "scope personal"},
		{id + "?personal=maybe", "shop-token", 400, "true or false"},
		{"user:nobody", "shop-token", 404, "case-sensitive"},
		{"no-such-profile", "shop-token", 404, "nothing was ever committed"},
		{"mail:ada", "shop-token", 404, "user:ID or anonymous:ID"},
	} {
		if status, answer := d.ask(tt.path, tt.token); status != tt.status || !strings.Contains(jsonText(t, answer), tt.says) {
			t.Errorf("GET %s: %d %v, want %d and %q", tt.path, status, answer, tt.status, tt.says)
		}
	}

	show := func(args ...string) string {
		return output(t, append([]string{"profile", "--data", d.data}, args...)...)
	}
	var asJSON struct {
		ID       string
		Timeline []timelineEntry
	}
	d.eventually(20*time.Second, "the timeline, which comes by batches of the sink", func() bool {
		if err := json.Unmarshal([]byte(show("--json", id)), &asJSON); err != nil || asJSON.ID != id {
			t.Fatalf("attune profile --json: %+v, %v", asJSON, err)
		}
		return len(asJSON.Timeline) >= 4
	})
	shown := show("user:ada")
	for _, want := range []string{id, "new, silver, until", "sneakers", "boots", "2 × p2", "160 GBP, clv", "email: granted"} {
		if !strings.Contains(shown, want) {
			t.Errorf("attune profile does not say %q:\n%s", want, shown)
		}
	}
	if strings.Contains(shown, "ada@") || !strings.Contains(show("--personal", id), "ada@mail.example") {
		t.Error("attune profile shows personal fields unasked, or not when asked")
	}
	explain := func(args ...string) string {
		return output(t, append([]string{"explain", "--data", d.data, id}, args...)...)
	}
	if said := explain("--segment", "loyal", "--why-not"); !strings.Contains(said, "loyal: not in it") || !strings.Contains(said, "customer.orders >= 3 would have to be true (is: 1)") {
		t.Errorf("attune explain --why-not says %s", said)
	}
	asOf, err := time.Parse(time.RFC3339, ada["as_of"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if status := d.post("/v1/track", `{"userId":"ada","event":"Order Completed","properties":{"revenue":5}}`); status != 200 {
		t.Fatalf("POST /v1/track: %d", status)
	}
	d.eventually(20*time.Second, "the second order", func() bool {
		_, answer := d.ask("user:ada", "shop-token")
		return answer["as_of"] != ada["as_of"]
	})
	// Now, before the second order from the log, and in half a year by what will come due.
	var now, before, after explanation
	for _, ask := range []struct {
		into *explanation
		args []string
	}{{&now, nil}, {&before, []string{"--at", asOf.Format(time.RFC3339Nano)}}, {&after, []string{"--at", asOf.Add(4000 * time.Hour).Format(time.RFC3339Nano)}}} {
		if err := json.Unmarshal([]byte(explain(append(ask.args, "--json")...)), ask.into); err != nil {
			t.Fatal(err)
		}
	}
	for orders, x := range map[string]explanation{"1": before, "2": now} {
		if x.Definitions != 1 || len(x.Segments) != 4 || x.Segments[3].ID != "loyal" || x.Segments[3].Value != orders {
			t.Errorf("with %s orders: %+v", orders, x)
		}
	}
	if lapsing := after.Segments[2]; lapsing.ID != "lapsing" || !lapsing.In || !lapsing.Holds {
		t.Errorf("in half a year: %+v", lapsing)
	}
	for args, says := range map[string]string{"--segment=loyl": "there are: [", "--at=2020-01-01T00:00:00Z": "nothing was known of this customer"} {
		if said := failure(t, "explain", "--data", d.data, id, args); !strings.Contains(said, says) {
			t.Errorf("explain %s says %s", args, said)
		}
	}
	d.post("/v1/track", `{"userId":"ada","event":"Order Completed","properties":{"revenue":5}}`)
	d.eventually(20*time.Second, "a loyal customer", func() bool { return strings.Contains(explain("--segment", "loyal"), "loyal: in it since") })
	// A visitor on another device turns out to be Ada: she keeps the older id, and the other one leads to her.
	d.post("/v1/track", `{"anonymousId":"phone","event":"Looked Around"}`)
	var visitor string
	d.eventually(20*time.Second, "a visitor", func() bool {
		status, answer := d.ask("anonymous:phone", "shop-token")
		visitor, _ = answer["id"].(string)
		return status == http.StatusOK && visitor != id
	})
	d.post("/v1/identify", `{"userId":"ada","anonymousId":"phone"}`)
	d.eventually(20*time.Second, "one customer", func() bool {
		_, answer := d.ask(visitor, "shop-token")
		return answer["id"] == id && strings.Contains(jsonText(t, answer["events"]), "Looked Around") && strings.Contains(jsonText(t, answer["merged"]), visitor)
	})
	if _, answer := d.ask(visitor+"?personal=true", "support-token"); !strings.Contains(jsonText(t, answer["personal"]), `"email":"ada@mail.example"`) {
		t.Errorf("by the visitor's id the personal fields are %v", answer["personal"])
	}
	d.eventually(20*time.Second, "the merge in the timeline", func() bool {
		shown := show("user:ada")
		return strings.Contains(shown, "Looked Around") && strings.Contains(shown, "is "+id)
	})
	// The visitor's id leads to Ada; of before the merge it is the visitor. (Ada's first calls came by two partitions, so
	// she may be a merge of two profiles from the beginning.)
	var whole struct{ Merged []mergedView }
	if err := json.Unmarshal([]byte(show("--json", id)), &whole); err != nil {
		t.Fatal(err)
	}
	merged := slices.IndexFunc(whole.Merged, func(m mergedView) bool { return m.ID == visitor })
	if merged < 0 {
		t.Fatalf("the visitor %s is not among what %s was merged of: %+v", visitor, id, whole.Merged)
	}
	earlier := whole.Merged[merged].At.Time().Add(-time.Millisecond).Format(time.RFC3339Nano)
	explainOf := func(args ...string) string {
		return output(t, append([]string{"explain", "--data", d.data}, args...)...)
	}
	if said := explainOf(visitor, "--segment", "loyal"); !strings.Contains(said, id+" at ") || !strings.Contains(said, visitor+" is the same customer as "+id+" since ") {
		t.Errorf("of the visitor it says %s", said)
	}
	if said := explainOf(visitor, "--at", earlier, "--segment", "loyal"); !strings.HasPrefix(said, visitor+" at ") || !strings.Contains(said, "is: 0") {
		t.Errorf("of the visitor then it says %s", said)
	}
	if said := explainOf("user:ada", "--at", earlier, "--segment", "loyal"); !strings.HasPrefix(said, id+" at ") || !strings.Contains(said, "which can be asked for: "+visitor) {
		t.Errorf("of Ada then it says %s", said)
	}
	// The beginning of the log ages out: what is recorded, or a snapshot from before.
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	output(t, "replay", "--data", d.data, "--snapshot", snapshot)
	d.keepEvents(100 * time.Millisecond)
	d.eventually(20*time.Second, "the log to age out", d.noEvents)
	d.eventually(20*time.Second, "what is recorded", func() bool {
		said := explainOf(id, "--at", earlier)
		return strings.Contains(said, "the beginning of the log has aged out") && strings.Contains(said, "loyal: in it: they entered at ")
	})
	if said := failure(t, "explain", "--data", d.data, id, "--from", snapshot, "--at", earlier); !strings.Contains(said, "give an older one") {
		t.Errorf("from a later snapshot it says %s", said)
	}
	if said := failure(t, "profile", "--data", d.data, "nobody"); !strings.Contains(said, "nothing was ever committed for nobody (a user is user:nobody,") {
		t.Errorf("of nobody it says %s", said)
	}
	d.interrupt()
}

// The same deeds, once each and in their order, or shuffled and each sent twice: the same customer.
func TestShuffledAndRepeatedEventsGiveTheSameProfile(t *testing.T) {
	d := startDev(t, filepath.Join(t.TempDir(), "data"), "--no-shop")
	const deeds = 60
	at := time.Now().Add(-100 * 24 * time.Hour).UTC().Truncate(time.Millisecond)
	chance := rand.New(rand.NewPCG(1, 2))
	call := func(user string, i int) string {
		name := []string{"Product Viewed", "Product Added", "Product Removed", "Order Completed", "Order Refunded"}[i*7%11%5]
		return fmt.Sprintf(`{"type":"track","messageId":"%[1]s-%[2]d","userId":"%[1]s","event":%[3]q,"timestamp":%[4]q,"properties":{
			"product_id":"p%[5]d","category":"c%[5]d","brand":"b%[6]d","price":%[2]d.25,"quantity":2,"revenue":%[2]d.1234,"currency":%[7]q,"coupon":%[8]q},
			"context":{"timezone":%[9]q}}`,
			user, i, name, at.Add(time.Duration(i)*37*time.Hour).Format(time.RFC3339Nano), i%9, i%4, []string{"GBP", "EUR"}[i%2], []string{"", "TEN"}[i/3%2], []string{"Europe/Rome", "UTC"}[i/7%2])
	}
	send := func(calls ...string) {
		if status := d.post("/v1/batch", `{"batch":[`+strings.Join(calls, ",")+`]}`); status != http.StatusOK {
			t.Fatalf("POST /v1/batch: %d", status)
		}
	}
	var shuffled []string
	for i := range deeds {
		send(call("orderly", i))
		shuffled = append(shuffled, call("hasty", i), call("hasty", i))
	}
	chance.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for part := range slices.Chunk(shuffled, 7) {
		send(part...)
	}
	end := stamp(0) // a customer's calls are handled in their order: after this one nothing comes
	profile := func(user string) (answer map[string]any) {
		send(fmt.Sprintf(`{"type":"track","userId":%q,"event":"The End","timestamp":%q}`, user, end))
		d.eventually(20*time.Second, "all of "+user, func() bool {
			_, answer = d.ask("user:"+user, "dev")
			events, _ := answer["events"].(map[string]any)
			return events["The End"] != nil
		})
		count := -1.0
		for _, e := range answer["events"].(map[string]any) {
			count += e.(map[string]any)["count"].(float64)
		}
		if count != deeds {
			t.Errorf("%s did %v things, want %d", user, count, deeds)
		}
		return answer
	}
	orderly, hasty := profile("orderly"), profile("hasty")
	own := func(name string, _ any) bool { // of the log, of the clock, or armed only where it did not happen long ago
		return slices.Contains([]string{"id", "partition", "position", "as_of", "scored_at", "waits", "segments"}, name)
	}
	if diff := cmp.Diff(orderly, hasty, cmpopts.IgnoreMapEntries(own)); diff != "" {
		t.Errorf("shuffled and repeated (-orderly +hasty):\n%s", diff)
	}
	d.interrupt()
}

// events is the log of a running dev. Its connection is open until the test ends.
func (d *dev) events() (jetstream.JetStream, *jetstream.StreamInfo) {
	d.t.Helper()
	conn, js, err := connect(config.NATS{URL: d.NATSURL})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(conn.Close)
	stream, err := js.Stream(d.t.Context(), topology.Events)
	if err != nil {
		d.t.Fatal(err)
	}
	return js, stream.CachedInfo()
}

// keepEvents changes for how long the log keeps them.
func (d *dev) keepEvents(age time.Duration) {
	d.t.Helper()
	js, info := d.events()
	info.Config.MaxAge, info.Config.Duplicates = age, min(age, info.Config.Duplicates)
	if _, err := js.UpdateStream(d.t.Context(), info.Config); err != nil {
		d.t.Fatal(err)
	}
}

// noEvents tells whether all have aged out.
func (d *dev) noEvents() bool {
	_, info := d.events()
	return info.State.Msgs == 0
}

// stamp is a time as clients write it.
func stamp(from time.Duration) string {
	return time.Now().Add(from).UTC().Format(time.RFC3339Nano)
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
