package normalize

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"attune/pipeline/event"
	"attune/pipeline/vault"
)

var update = flag.Bool("update", false, "write the golden files")

// separated is a call's event, as it goes on, and its fields for the vault.
func separated(t interface{ Fatal(...any) }, payload []byte) (event.Event, map[string]vault.Field) {
	return separatedBy(t, vault.Declared{}, payload)
}

func separatedBy(t interface{ Fatal(...any) }, declared vault.Declared, payload []byte) (event.Event, map[string]vault.Field) {
	c, err := parse(event.Raw{Payload: payload, Accepted: at("2026-05-01T12:00:00Z")})
	if err != nil {
		t.Fatal(err)
	}
	split := newSeparator(vault.NewHasher([]byte("a key for tests")), declared, "")
	e := event.Event{ID: split.within(c.ID), Type: c.Type, Name: split.title(c.Name), User: split.user(c.User), Occurred: c.Occurred, Accepted: c.Accepted, Consent: consent(&c)}
	fields := map[string]vault.Field{}
	split.event(&e, &c, fields)
	return e, fields
}

func TestSeparatorGolden(t *testing.T) {
	const path = "testdata/separator.txtar"
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden := map[string]string{}
	for _, f := range archive.Files {
		golden[f.Name] = string(f.Data)
	}
	out := &txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".call")
		if !ok {
			continue
		}
		var declared vault.Declared
		if strings.HasPrefix(name, "declared") || strings.HasPrefix(name, "strict") {
			declared = vault.Declared{Personal: []string{"loyalty_card", "Tax ID"}, Open: []string{"plan", "engraving", "product_phone"}, Strict: strings.HasPrefix(name, "strict")}
		}
		e, fields := separatedBy(t, declared, f.Data)
		var got bytes.Buffer
		for _, o := range []struct {
			name   string
			object event.Object
		}{{"properties", e.Properties}, {"traits", e.Traits}, {"context", e.Context}} {
			if o.object != nil {
				fmt.Fprintf(&got, "%s: %s\n", o.name, o.object)
			}
		}
		if e.ID != "m" {
			fmt.Fprintf(&got, "id: %s\nname: %s\n", e.ID, e.Name)
		}
		if e.User != "u" {
			fmt.Fprintf(&got, "user: %s\n", e.User)
		}
		for _, field := range slices.Sorted(maps.Keys(fields)) {
			fmt.Fprintf(&got, "vault %s: %s\n", field, fields[field].Value)
		}
		out.Files = append(out.Files, f, txtar.File{Name: name + ".out", Data: got.Bytes()})
		if diff := cmp.Diff(golden[name+".out"], got.String()); diff != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A personal value goes on from nowhere in a call's objects, however deep it lies and however its field is spelled.
func TestNoPersonalValueGoesOn(t *testing.T) {
	names := vault.NewNames(vault.Declared{}).Plain()
	rapid.Check(t, func(t *rapid.T) {
		planted := 0
		spelled := func() string {
			name := rapid.SampledFrom(names).Draw(t, "field")
			var b strings.Builder
			for i, r := range name {
				if i > 0 {
					b.WriteString(rapid.SampledFrom([]string{"", "", "", "_", "-", " "}).Draw(t, "separator"))
				}
				if rapid.Bool().Draw(t, "upper") {
					r = r - 'a' + 'A'
					if name[i] < 'a' {
						r = rune(name[i])
					}
				}
				b.WriteRune(r)
			}
			return rapid.SampledFrom([]string{"", "", "x.", "a.b."}).Draw(t, "prefix") + b.String()
		}
		var value func(depth int) any
		secret := func() any {
			planted++
			s := fmt.Sprintf("PERSONAL%d", planted)
			return rapid.SampledFrom([]any{s, []any{s}, map[string]any{"city": s}, []any{map[string]any{s: s}}}).Draw(t, "secret")
		}
		object := func(depth int) map[string]any {
			o := map[string]any{}
			for range rapid.IntRange(0, 4).Draw(t, "fields") {
				if rapid.Bool().Draw(t, "personal") {
					o[spelled()] = secret()
				} else {
					o[rapid.StringMatching(`[a-zé"\\.]{1,6}9`).Draw(t, "name")] = value(depth - 1)
				}
			}
			return o
		}
		value = func(depth int) any {
			kind := rapid.IntRange(0, 4).Draw(t, "kind")
			switch {
			case depth <= 0 || kind == 0:
				planted++
				address := fmt.Sprintf("PERSONAL%d@shop.example", planted) // whatever its field is called
				return rapid.SampledFrom([]any{
					nil, 1.5, true, "text", "", []any{}, address, []any{address}, "\"to\" <" + address + ">, <b@c.example>",
					"https://shop.example/?q=100%25&email=" + url.QueryEscape(address), map[string]any{"of " + address: 1},
				}).Draw(t, "plain")
			case kind == 1:
				return []any{value(depth - 1), value(depth - 1)}
			}
			return object(depth)
		}
		context := object(2)
		context["campaign"], context["traits"] = value(3), value(3)
		context["locale"], context["timezone"], context["page"] = value(2), value(2), map[string]any{"path": value(2)}
		call := map[string]any{
			"type": "track", "event": "E", "messageId": "m", "userId": "u",
			"properties": object(4), "context": context,
		}
		call["properties"].(map[string]any)[rapid.SampledFrom([]string{"customer", "Users", "x.contact"}).Draw(t, "person")] = map[string]any{"name": secret()}
		if rapid.Bool().Draw(t, "traits") {
			call["traits"] = object(4)
		}
		payload, err := json.Marshal(call)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := separated(t, payload)
		data, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("PERSONAL")) {
			t.Fatalf("%s\nbecomes\n%s", payload, data)
		}
	})
}

// Under strict nothing goes on that nobody declared: no value, and no name either, however deep it lies.
func TestStrictLetsOnlyDeclaredFieldsOn(t *testing.T) {
	declared := vault.Declared{Open: []string{"open", "list"}, Personal: []string{"card"}, Strict: true}
	rapid.Check(t, func(t *rapid.T) {
		planted, kept := 0, 0
		var object func(depth int, open bool) map[string]any
		value := func(depth int, open bool) any {
			switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
			case depth > 0 && kind == 0:
				return object(depth-1, open)
			case depth > 0 && kind == 1:
				return []any{object(depth-1, open), object(depth-1, open)}
			case open:
				kept++
				return fmt.Sprintf("OPEN%d", kept)
			}
			planted++
			return rapid.SampledFrom([]any{"SECRET", true, 1234567, map[string]any{"SECRET": 1}}).Draw(t, "secret")
		}
		object = func(depth int, open bool) map[string]any {
			o := map[string]any{}
			for range rapid.IntRange(0, 4).Draw(t, "fields") {
				name := rapid.SampledFrom([]string{"open", "LIST", "card", "card", "SECRET", "SECRET email", "SECRET.open", "note"}).Draw(t, "name")
				o[name] = value(depth, open && (name == "open" || name == "LIST"))
			}
			return o
		}
		context := object(2, false)
		context["campaign"], context["traits"] = object(2, true), object(2, true)
		payload, err := json.Marshal(map[string]any{
			"type": "track", "event": "E", "messageId": "m", "userId": "u", "properties": object(3, true), "context": context,
		})
		if err != nil {
			t.Fatal(err)
		}
		e, _ := separatedBy(t, declared, payload)
		for _, o := range []event.Object{e.Properties, e.Traits, e.Context} {
			if s := string(o); strings.Contains(s, "SECRET") || strings.Contains(s, "note") || strings.Contains(s, "1234567") {
				t.Fatalf("%s\nbecomes\n%s", payload, s)
			}
		}
	})
}

// What is not personal goes on as it was, byte for byte.
func TestWhatIsNotPersonalStays(t *testing.T) {
	const properties = `{"a":1.50,"b":[1e3,"x<&>","\u00e9",{"c":null}],"d":{"name":"n","e f":"é"},"a":2,"":[]}`
	e, fields := separated(t, []byte(`{"type":"track","messageId":"m","userId":"u","event":"E","properties":`+properties+`}`))
	if string(e.Properties) != properties || len(fields) != 0 {
		t.Errorf("got %s and %d fields, want %s", e.Properties, len(fields), properties)
	}
}

func TestFieldsKnowWhenTheyWereSaid(t *testing.T) {
	_, fields := separated(t, []byte(`{"type":"identify","messageId":"m","userId":"u","timestamp":"2026-05-01T10:00:00Z","traits":{"email":"e"}}`))
	want := map[string]vault.Field{"email": {Value: json.RawMessage(`"e"`), At: event.At(at("2026-05-01T10:00:00Z"))}}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHashesJoin(t *testing.T) {
	e, _ := separated(t, []byte(`{"type":"track","messageId":"m","userId":"anna@shop.example","event":"E","properties":{"E-Mail":"anna@shop.example"},"traits":{"email":"anna@shop.example","phone":"anna@shop.example"}}`))
	if p, tr := e.Properties.Get("E-Mail").String(), e.Traits.Get("email").String(); p != tr || p != e.User || !strings.HasPrefix(p, "hash:") {
		t.Errorf("one address has the hashes %s, %s and %s", p, tr, e.User)
	}
	if e.Traits.Get("phone").String() == e.User {
		t.Error("another kind of field has the same hash: a guess for one tests the other")
	}
}

func TestConsent(t *testing.T) {
	for _, c := range []struct {
		name, fields string
		want         map[string]bool
	}{
		{"nothing", `"type":"track","event":"E"`, nil},
		{"preferences", `"type":"page","context":{"consent":{"categoryPreferences":{"email":true,"sms":false,"push":"yes","x":null}}}`, map[string]bool{"email": true, "sms": false}},
		{"preferences of another shape", `"type":"page","context":{"consent":{"categoryPreferences":[true]}}`, nil},
		{"subscribed", `"type":"track","event":"Subscribed"`, map[string]bool{"email": true}},
		{"subscribed to a channel", `"type":"track","event":"Subscribed","properties":{"channel":"sms"}`, map[string]bool{"sms": true}},
		{"subscribed to no channel", `"type":"track","event":"Subscribed","properties":{"channel":""}`, map[string]bool{"email": true}},
		{"unsubscribed", `"type":"track","event":"Unsubscribed"`, map[string]bool{"email": false}},
		{"the event before the preferences", `"type":"track","event":"Unsubscribed","context":{"consent":{"categoryPreferences":{"email":true,"sms":true}}}`, map[string]bool{"email": false, "sms": true}},
		{"a page of that name", `"type":"page","name":"Subscribed"`, nil},
		{"another spelling is another event", `"type":"track","event":"subscribed"`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, _ := separated(t, []byte(`{"messageId":"m","userId":"u",`+c.fields+`}`))
			if diff := cmp.Diff(c.want, e.Consent); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What is personal by its name, alone or at the end of a longer one, and what only sounds like it.
func TestPersonalNames(t *testing.T) {
	s := newSeparator(nil, vault.Declared{}, "")
	for _, c := range []struct {
		name string
		want string // the field in the vault; empty: not personal
	}{
		{"email", "email"},
		{"E-Mail", "email"},
		{"customer_email", "customeremail"},
		{"billingEmail", "billingemail"},
		{"contact-phone", "contactphone"},
		{"shipping_first_name", "shippingfirstname"},
		{"recipient_name", "recipientname"},
		{"billing.phone", "phone"},
		{"name", ""},
		{"product_name", ""},
		{"email_opened", ""},
		{"phone_case_color", ""},
		{"category", ""},
		{"cart_id", ""},
	} {
		field, ok := s.names.Personal(c.name, false)
		if field != c.want || ok != (c.want != "") {
			t.Errorf("%s: field %q, personal %v, want %q", c.name, field, ok, c.want)
		}
	}
}
