package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
	"attune/stages/ingest/mapping"
)

// canarySecret is that of each entrance.
const canarySecret = "hush"

// canaryEntrances are one entrance for each mapping that comes with Attune, as settings.
func canaryEntrances() string {
	var entrances []string
	for _, name := range mapping.Shipped() {
		entrances = append(entrances, fmt.Sprintf("{name: %s, mapping: %[1]s, secret: %s}", name, canarySecret))
	}
	return "ingest: {entrances: [" + strings.Join(entrances, ", ") + "]}\n"
}

// sendCanaries sends the person in by every way but the batch: each call by a route of its own and straight to NATS, what
// entrances take and what they park, and a file.
func sendCanaries(t *testing.T, d *dev, js jetstream.JetStream, calls []string) {
	t.Helper()
	for i, call := range calls {
		var kind struct{ Type string }
		if err := json.Unmarshal([]byte(call), &kind); err != nil {
			t.Fatal(err)
		}
		if slices.Contains([]string{"identify", "track", "page", "group", "alias"}, kind.Type) {
			if status := d.post("/v1/"+kind.Type, call); status != 200 && status != 400 {
				t.Errorf("status %d for %s", status, call)
			}
		}
		direct := fmt.Sprintf(`{"messageId":"direct %d of quailberta@zaunkoenig.example",%s`, i, call[1:])
		if _, err := js.Publish(t.Context(), topology.IngestSubject+".canary", []byte(direct)); err != nil {
			t.Fatal(err)
		}
	}
	sent := map[string]bool{}
	for _, r := range canaryRequests() {
		name, _, _ := strings.Cut(r.to, "?")
		sent[name] = true
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.IngestURL+"/v1/in/"+r.to, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", r.kind)
		request.Header.Set("Authorization", "Bearer "+canarySecret)
		mac := hmac.New(sha256.New, []byte(canarySecret))
		mac.Write([]byte(r.body))
		request.Header.Set("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		request.Header.Set("X-Shopify-Topic", r.topic)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s answers %d, %v", r.to, answer.StatusCode, err)
		}
	}
	for _, name := range mapping.Shipped() {
		if !sent[name] {
			t.Errorf("nothing was sent to the entrance %s", name)
		}
	}
	file := filepath.Join(t.TempDir(), "contacts.csv")
	const contacts = "id,email,phone,first name,street,birthday,page\n" +
		"i1,quailberta@zaunkoenig.example,+447700900142,Quailberta,7 Canary-Lane,1971-02-03,https://shop.example/?e=quailberta%40zaunkoenig.example\n" +
		",,+447700900142,Quailberta,7 Canary-Lane,1971-02-03,\n" + // nobody's: refused
		"quailberta@zaunkoenig.example,,,,,,write to quailberta@zaunkoenig.example\n"
	if err := os.WriteFile(file, []byte(contacts), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), topology.IngestSubject+".canary", []byte("quailberta@zaunkoenig.example")); err != nil {
		t.Fatal(err)
	}
	output(t, "import", "--data", d.data, "--no-wait", "--mapping", "contacts", file)
}

// canaryRequest is one payload for an entrance.
type canaryRequest struct{ to, kind, topic, body string }

// canaryRequests name the person in the formats of the entrances: in what their mappings take, in what they don't know, and
// in what can't be used.
func canaryRequests() []canaryRequest {
	const (
		object  = "application/json"
		address = `{"address1":"7 Canary-Lane","zip":"QZ9 7ZQ","city":"Leeds"}`
		url     = `"https://shop.example/?email=quailberta%40zaunkoenig.example&next=%2F%3Fe%3Dquailberta%2540zaunkoenig.example"`
	)
	return []canaryRequest{
		{"cloudevents", "application/cloudevents+json", "", `{"specversion":"1.0","id":"of quailberta@zaunkoenig.example","source":"/shop","type":"Product Viewed","subject":"quailberta@zaunkoenig.example",
			"data":{"product_id":"sku-1","url":` + url + `,"customer":{"name":"Quailberta Zaunkoenig","phone":"+447700900142"}}}`},
		{"cloudevents", "application/cloudevents+json", "", `{"specversion":"1.0","subject":"quailberta@zaunkoenig.example","data":{"email":"quailberta@zaunkoenig.example"}}`},
		{"cloudevents", "application/xml", "", `<email>quailberta@zaunkoenig.example</email>`},
		{"ga4?api_secret=" + canarySecret, object, "", `{"client_id":"c1","user_id":"quailberta@zaunkoenig.example","user_properties":{"email":{"value":"quailberta@zaunkoenig.example"}},"events":[
			{"name":"page_view","params":{"page_title":"Cart of quailberta@zaunkoenig.example","page_location":` + url + `,"page_referrer":` + url + `}},
			{"name":"search","params":{"search_term":"mail from quailberta@zaunkoenig.example?","user_email":"quailberta@zaunkoenig.example"}},
			{"name":"","params":{"email":"quailberta@zaunkoenig.example"}}]}`},
		{"ga4?api_secret=" + canarySecret, object, "", `{"client_id":"c1","user_id":"quailberta@zaunkoenig.example","events":{"email":"quailberta@zaunkoenig.example"}}`},
		{"shopify", object, "orders/create", `{"id":7,"email":"quailberta@zaunkoenig.example","phone":"+447700900142","total_price":"8.00","currency":"EUR","browser_ip":"203.0.113.77",
			"customer":{"id":70,"email":"quailberta@zaunkoenig.example","first_name":"Quailberta","last_name":"Zaunkoenig","default_address":` + address + `},
			"shipping_address":` + address + `,"note":"for Quailberta","line_items":[{"product_id":1,"title":"Mug","price":"8.00","quantity":1}]}`},
		{"shopify", object, "customers/redact", `{"shop_id":1,"customer":{"id":70,"email":"quailberta@zaunkoenig.example","phone":"+447700900142"}}`},
		{"contacts", object, "", `[{"id":"k1","email":"quailberta@zaunkoenig.example","First Name":"Quailberta","lastname":"Zaunkoenig","birthday":"1971-02-03","address":` + address + `,
			"source":"mail to quailberta@zaunkoenig.example"},{"phone":"+447700900142"}]`},
		{"webhook", object, "", `{"event":"Points of quailberta@zaunkoenig.example","user_id":"quailberta@zaunkoenig.example","id":"p-quailberta@zaunkoenig.example","email":"quailberta@zaunkoenig.example",
			"data":{"page":` + url + `,"quailberta@zaunkoenig.example":true,"by":["quailberta@zaunkoenig.example"]}}`},
		{"webhook", object, "", `"quailberta@zaunkoenig.example"`},
	}
}
