package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
)

// canaries are what a person would recognize themselves by; none is a word that anything else holds.
func canaries() []string {
	return []string{"quailberta", "zaunkoenig", "7700900142", "203.0.113.77", "canary-lane", "qz9 7zq", "1971-02-03"}
}

// canaryCalls name the person where producers do: in traits, properties and context, nested, in lists, under names that
// nobody declared, in fields that nobody knows, in ids; and in calls that can't be used, for each reason.
func canaryCalls() []string {
	const address = `{"street":"7 Canary-Lane","postal_code":"QZ9 7ZQ","city":"Leeds"}`
	return []string{
		`{"type":"identify","userId":"quailberta@zaunkoenig.example","anonymousId":"device","traits":{"email":"quailberta@zaunkoenig.example","phone":"+447700900142",
			"first_name":"Quailberta","lastName":"Zaunkoenig","address":` + address + `,"birthday":"1971-02-03","plan":"gold"}}`,
		`{"type":"track","userId":"quailberta@zaunkoenig.example","event":"Subscribed","properties":{"channel":"email"}}`,
		`{"type":"track","userId":"quailberta@zaunkoenig.example","event":"Order Completed","properties":{"order_id":"o1","total":8,"currency":"EUR","email":"quailberta@zaunkoenig.example"},
			"unheard_of":{"full":"Quailberta Zaunkoenig"},"integrations":{"x":"quailberta"}}`,
		`{"type":"track","userId":"quailberta@zaunkoenig.example","event":"Product Added","properties":{"cart_id":"c1","product_id":"sku-1","name":"Mug","price":8,"currency":"EUR",
			"customer_email":"quailberta@zaunkoenig.example","shipping":{"recipientName":"Quailberta Zaunkoenig","address":` + address + `},
			"contacts":[{"mobile":"+447700900142"},{"billing_address":` + address + `}]},"context":{"ip":"203.0.113.77","traits":{"email":"quailberta@zaunkoenig.example"},
			"userAgent":"Quailberta's phone","page":{"path":"/cart","url":"https://shop.example/?e=quailberta","referrer":"https://zaunkoenig.example"}}}`,
		`{"type":"page","userId":"u5","name":"Cart of quailberta@zaunkoenig.example","properties":{"url":"https://shop.example/?email=quailberta%40zaunkoenig.example",
			"referrer":"https://shop.example/u/quailberta@zaunkoenig.example","search":"mail from Quailberta@Zaunkoenig.example?","of quailberta@zaunkoenig.example":1}}`,
		`{"type":"group","userId":"u2","groupId":"quailberta@zaunkoenig.example","traits":{"phone":"+447700900142"}}`,
		`{"type":"alias","userId":"u3","previousId":"quailberta@zaunkoenig.example"}`,
		`{"type":"track","userId":"u4","event":"E","timestamp":"Quailberta's birthday, 1971-02-03"}`,
		`{"type":"quailberta","userId":"u4"}`,
		`{"type":"track","userId":["quailberta@zaunkoenig.example"],"event":"E"}`,
		`{"type":"track","userId":"u4","event":"E","messageId":"twice","properties":{"email":"quailberta@zaunkoenig.example"}}`,
		`{"type":"track","userId":"u4","event":"E","messageId":"twice","properties":{"email":"other@zaunkoenig.example"}}`,
	}
}

// strictCanaryCalls name the person where only a strict declaration can know it: in fields of the installation's own, in
// names that say nothing, in lists of text, in fields' names themselves.
func strictCanaryCalls() []string {
	return []string{
		`{"type":"identify","userId":"quailberta@zaunkoenig.example","traits":{"loyalty_card":"Quailberta 7","plan":"gold","note":"rang from 7700900142","nickname":"Quailberta",
			"home":{"line1":"7 Canary-Lane","code":"QZ9 7ZQ"},"Quailberta Zaunkoenig":true,"born":"1971-02-03"}}`,
		`{"type":"track","userId":"quailberta@zaunkoenig.example","event":"Order Completed","properties":{"order_id":"o2","total":8,"currency":"EUR",
			"products":[{"product_id":"sku-1","name":"Mug","price":8,"engraving":"for Quailberta","gift":{"to":["Zaunkoenig","7 Canary-Lane"]}}],
			"remote":"203.0.113.77","quailberta_email":"quailberta@zaunkoenig.example","tags":["Quailberta"]},
			"context":{"campaign":{"source":"mail","who":"quailberta"},"page":{"path":"/customers/quailberta"}}}`,
		`{"type":"page","userId":"quailberta@zaunkoenig.example","properties":{"url":"https://shop.example/?e=quailberta","referrer":"https://zaunkoenig.example","title":"Quailberta's cart"}}`,
	}
}

// What a person would recognize themselves by is in the vault and, of calls that could not be used, in the dead letters;
// RAW has let go of it. It is in no other stream or bucket, nowhere in ClickHouse, in no log line and no metric, though
// it was sent in every way, and though a mail has reached the person.
func TestPersonalFieldsStayInTheirPlaces(t *testing.T) {
	const strict = "normalize: {strict: true, personal_fields: [loyalty_card], open_fields: [plan, cart_url]}\n"
	t.Run("default", func(t *testing.T) { searchForCanaries(t, "", canaryCalls()) })
	t.Run("strict", func(t *testing.T) { // its order first: it would cancel the mail of the cart
		searchForCanaries(t, strict, slices.Concat(strictCanaryCalls(), canaryCalls()))
	})
}

func searchForCanaries(t *testing.T, settings string, calls []string) {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "attune.yaml")
	if err := os.WriteFile(file, []byte(settings+canaryEntrances()), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDev(t, filepath.Join(folder, "data"), "--no-shop", "--max-wait", "1s", "--config", file)
	conn, err := nats.Connect(d.NATSURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	sendCanaries(t, d, js, calls)
	for _, call := range calls { // last: the mail is of their cart, which orders before it don't cancel
		if status := d.post("/v1/batch", `{"batch":[`+call+`]}`); status != 200 && status != 400 {
			t.Errorf("status %d for %s", status, call)
		}
	}
	d.eventually(30*time.Second, "a mail to the person", func() bool {
		return slices.ContainsFunc(d.mails(), func(m mail) bool { return strings.Contains(m.To, "quailberta") })
	})
	d.eventually(30*time.Second, "its outcome in ClickHouse", func() bool { return d.sql("SELECT count() FROM messages WHERE outcome = 'accepted'") != "0" })

	// The seventh is no entrance: the batch. The import is known by its customer.
	d.eventually(30*time.Second, "an event of each entrance in ClickHouse", func() bool {
		return d.sql("SELECT uniqExact(extract(event_id, '^(cloudevents|contacts|direct|ga4|shopify|webhook)[: ]')), countIf(user_id = 'i1') FROM events") == "7\t1"
	})
	d.eventually(30*time.Second, "an empty RAW", func() bool {
		raw, err := js.Stream(t.Context(), topology.Raw)
		return err == nil && raw.CachedInfo().State.Msgs == 0
	})
	found := map[string]bool{}
	for name, texts := range streamTexts(t, js) {
		for _, text := range texts {
			if c := canaryIn(text); c != "" {
				found[name] = true
				if name != "KV_"+topology.Vault && name != topology.DeadLetter {
					t.Errorf("%s holds %s: %.500s", name, c, text)
				}
			}
		}
	}
	if !found["KV_"+topology.Vault] || !found[topology.DeadLetter] {
		t.Errorf("found in %v, want in the vault and the dead letters: the search may be blind", found)
	}
	for _, table := range strings.Fields(d.sql("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree%'")) {
		for _, c := range canaries() {
			if n := d.sql(fmt.Sprintf("SELECT count() FROM %s WHERE positionCaseInsensitive(formatRow('JSONEachRow', *), '%s') > 0", table, c)); n != "0" {
				t.Errorf("%s rows of table %s hold %s", n, table, c)
			}
		}
	}
	if n := d.sql("SELECT count() FROM events WHERE positionCaseInsensitive(formatRow('JSONEachRow', *), 'sku-1') > 0"); n == "0" {
		t.Error("no event with sku-1 is found in ClickHouse: the search may be blind")
	}
	answer, err := http.Get(d.IngestURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	d.interrupt()
	for place, text := range map[string]string{"the metrics": string(metrics), "the log": d.logs.String()} {
		if c := canaryIn(text); c != "" {
			t.Errorf("%s hold %s:\n%s", place, c, text)
		}
	}
}

func canaryIn(text string) string {
	text = strings.ToLower(text)
	for _, c := range canaries() {
		if strings.Contains(text, c) {
			return c
		}
	}
	return ""
}

// streamTexts are the messages of each stream and bucket as texts: subject, headers and data, what a dead letter encodes
// taken out of its encoding.
func streamTexts(t *testing.T, js jetstream.JetStream) map[string][]string {
	t.Helper()
	texts := map[string][]string{}
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for next := uint64(1); ; {
			m, err := stream.GetMsg(t.Context(), next, jetstream.WithGetMsgSubject(">"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprint(m.Subject, " ", m.Header, " ", string(m.Data))
			var letter struct{ Payload []byte }
			if name == topology.DeadLetter && json.Unmarshal(m.Data, &letter) == nil {
				text += " " + string(letter.Payload)
			}
			texts[name] = append(texts[name], text)
			next = m.Sequence + 1
		}
	}
	if err := names.Err(); err != nil {
		t.Fatal(err)
	}
	return texts
}
