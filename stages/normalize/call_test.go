package normalize

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/vault"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestParse(t *testing.T) {
	accepted := at("2026-05-01T12:00:00.5Z")
	now := event.At(accepted)
	for _, c := range []struct {
		name    string
		payload string
		sentAt  string
		want    call
	}{
		{
			"everything", `{"type":"track","messageId":"m1","userId":"u1","anonymousId":"a1","event":" Order Completed ",
			 "timestamp":"2026-05-01T11:59:00Z","properties":{"total": 12.50},"traits":{"email":"e"},"context":{"ip":"1"}}`, "",
			call{
				ID: "m1", Type: event.Track, Name: "Order Completed", User: "u1", Anonymous: "a1",
				Occurred: now.Add(-60500 * time.Millisecond), Accepted: now,
				Properties: event.Object(`{"total":12.50}`), Traits: event.Object(`{"email":"e"}`), Context: event.Object(`{"ip":"1"}`),
			},
		},
		{
			"ids as numbers count as they are written", `{"type":"group","messageId":7,"userId":12345678901234567890,"anonymousId":1.0,"groupId":-3}`, "",
			call{ID: "7", Type: event.Group, Name: "-3", User: "12345678901234567890", Anonymous: "1.0", Occurred: now, Accepted: now},
		},
		{
			"null and blank are absent", `{"type":"identify","messageId":"m","userId":null,"anonymousId":" a ","timestamp":null,"originalTimestamp":"","sentAt":null,"traits":null,"properties":null,"context":null}`, "",
			call{ID: "m", Type: event.Identify, Anonymous: "a", Occurred: now, Accepted: now},
		},
		{
			"names are matched exactly", `{"type":"identify","Type":"track","messageId":"m","MessageId":"x","userId":"u","userid":"x","USERID":"y","anonymousID":"z","Traits":{"a":1},"Timestamp":"nonsense"}`, "",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now, Accepted: now},
		},
		{
			"of two the last counts", `{"type":"identify","messageId":"m","userId":"u","userId":"v"}`, "",
			call{ID: "m", Type: event.Identify, User: "v", Occurred: now, Accepted: now},
		},
		{
			"escapes in names and values", `{"t\u0079pe":"\u0070age","messageId":"m","userId":"\u00fc","name":"Home \ud83c\udfe0"}`, "",
			call{ID: "m", Type: event.Page, Name: "Home 🏠", User: "ü", Occurred: now, Accepted: now},
		},
		{
			"a screen without a name", `{"type":"screen","messageId":"m","userId":"u"}`, "",
			call{ID: "m", Type: event.Screen, User: "u", Occurred: now, Accepted: now},
		},
		{
			"an alias", `{"type":"alias","messageId":"m","userId":"u","previousId":"p"}`, "",
			call{ID: "m", Type: event.Alias, User: "u", Previous: "p", Occurred: now, Accepted: now},
		},
		{
			"previousId belongs to aliases", `{"type":"identify","messageId":"m","userId":"u","previousId":"p"}`, "",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now, Accepted: now},
		},
		{
			"a delivery's end", `{"type":"delivery","event":"Delivery","messageId":"delivery-d1","profileId":"abc234"}`, "",
			call{ID: "delivery-d1", Type: event.Delivery, Name: "Delivery", Profile: "abc234", Occurred: now, Accepted: now},
		},
		{
			"profileId belongs to deliveries' ends", `{"type":"identify","messageId":"m","userId":"u","profileId":"abc234"}`, "",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now, Accepted: now},
		},
		{
			"a sender's clock that is 1 h fast", `{"type":"identify","messageId":"m","userId":"u","timestamp":"2026-05-01T12:59:50Z"}`, "2026-05-01T13:00:00Z",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now.Add(-10 * time.Second), Accepted: now},
		},
		{
			"a sender's clock that is 50 years slow", `{"type":"identify","messageId":"m","userId":"u","timestamp":"1969-12-31T23:59:59Z","sentAt":"1970-01-01T00:00:00Z"}`, "",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now.Add(-time.Second), Accepted: now},
		},
		{
			"the request's sentAt before the call's own", `{"type":"identify","messageId":"m","userId":"u","timestamp":"2026-05-01T10:00:00Z","sentAt":"2026-05-01T10:00:09Z"}`, "2026-05-01T10:00:01Z",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now.Add(-time.Second), Accepted: now},
		},
		{
			"originalTimestamp before timestamp", `{"type":"identify","messageId":"m","userId":"u","timestamp":"2026-05-01T10:00:00Z","originalTimestamp":"2026-05-01T10:00:05Z","sentAt":"2026-05-01T10:00:07Z"}`, "",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now.Add(-2 * time.Second), Accepted: now},
		},
		{
			"without a timestamp the sender's clock says nothing", `{"type":"identify","messageId":"m","userId":"u"}`, "2020-01-01T00:00:00Z",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now, Accepted: now},
		},
		{
			"the future", `{"type":"identify","messageId":"m","userId":"u","timestamp":"2027-01-01T00:00:00Z"}`, "",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now, Accepted: now},
		},
		{
			"the future of the sender", `{"type":"identify","messageId":"m","userId":"u","timestamp":"2026-05-01T11:00:01Z"}`, "2026-05-01T11:00:00Z",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now, Accepted: now},
		},
		{
			"further apart than a Duration holds", `{"type":"identify","messageId":"m","userId":"u","timestamp":"9999-01-01T00:00:00Z"}`, "0002-01-01T00:00:00Z",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now, Accepted: now},
		},
		{
			"with an offset and a fraction", `{"type":"identify","messageId":"m","userId":"u","timestamp":"2026-05-01T13:00:00.0019+01:00"}`, "",
			call{ID: "m", Type: event.Identify, User: "u", Occurred: now.Add(-499 * time.Millisecond), Accepted: now},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := event.Raw{Payload: []byte(c.payload), Accepted: accepted}
			if c.sentAt != "" {
				raw.SentAt = at(c.sentAt)
			}
			got, err := parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(call{}, "Fingerprint", "ahead", "around")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseParks(t *testing.T) {
	for _, c := range []struct{ name, payload, reason, says string }{
		{"nothing", ``, ReasonInvalidJSON, "got nothing"},
		{"null", ` null `, ReasonInvalidJSON, "got nothing"},
		{"an array", `[{"type":"track"}]`, ReasonInvalidJSON, "an array"},
		{"a string", `"track"`, ReasonInvalidJSON, "a string"},
		{"cut off", `{"type":"track","messageId":"m","userId":"u","event":"E"`, ReasonInvalidJSON, "unexpected end"},
		{"something after it", `{"type":"identify","messageId":"m","userId":"u"} {}`, ReasonInvalidJSON, "after top-level"},
		{"too deep", `{"type":"identify","messageId":"m","userId":"u","traits":` + strings.Repeat(`{"a":`, maxDepth) + `1` + strings.Repeat(`}`, maxDepth) + `}`, ReasonInvalidJSON, "deeper than 512"},
		{"properties are a list", `{"type":"track","messageId":"m","userId":"u","event":"E","properties":[1]}`, ReasonInvalidJSON, "properties"},
		{"traits are a text", `{"type":"track","messageId":"m","userId":"u","event":"E","traits":"x"}`, ReasonInvalidJSON, "traits"},
		{"context is a number", `{"type":"track","messageId":"m","userId":"u","event":"E","context":1}`, ReasonInvalidJSON, "context"},
		{"no type", `{"messageId":"m","userId":"u"}`, ReasonUnknownType, `type ""`},
		{"another type", `{"type":"Track","messageId":"m","userId":"u","event":"E"}`, ReasonUnknownType, `"Track"`},
		{"a type of Attune's own", `{"type":"wake","messageId":"m","userId":"u"}`, ReasonUnknownType, `"wake"`},
		{"a control record", `{"type":"control","messageId":"m","userId":"u"}`, ReasonUnknownType, `"control"`},
		{"a number as type", `{"type":1,"messageId":"m","userId":"u"}`, ReasonUnknownType, `type ""`},
		{"no message id", `{"type":"identify","userId":"u"}`, ReasonNoID, "messageId"},
		{"a blank message id", `{"type":"identify","messageId":"  ","userId":"u"}`, ReasonNoID, "messageId"},
		{"an object as message id", `{"type":"identify","messageId":{},"userId":"u"}`, ReasonNoID, "messageId is neither"},
		{"nobody", `{"type":"identify","messageId":"m"}`, ReasonNoIdentity, "neither userId nor anonymousId"},
		{"blank ids", `{"type":"identify","messageId":"m","userId":"","anonymousId":" \t"}`, ReasonNoIdentity, "neither userId nor anonymousId"},
		{"an object as user id", `{"type":"identify","messageId":"m","userId":{"oid":"1"},"anonymousId":"a"}`, ReasonNoIdentity, "userId is neither"},
		{"a boolean as anonymous id", `{"type":"identify","messageId":"m","userId":"u","anonymousId":true}`, ReasonNoIdentity, "anonymousId is neither"},
		{"an alias from nobody", `{"type":"alias","messageId":"m","userId":"u"}`, ReasonNoIdentity, "previousId and userId"},
		{"an alias to nobody", `{"type":"alias","messageId":"m","anonymousId":"a","previousId":"p"}`, ReasonNoIdentity, "previousId and userId"},
		{"an alias from a list", `{"type":"alias","messageId":"m","userId":"u","previousId":[]}`, ReasonNoIdentity, "previousId is neither"},
		{"a delivery without a profile", `{"type":"delivery","messageId":"m","userId":"u"}`, ReasonNoIdentity, "profileId"},
		{"a delivery to the vault's key", `{"type":"delivery","messageId":"m","profileId":"_key","properties":{"email":"x"}}`, ReasonNoIdentity, "profileId"},
		{"a delivery to no subject", `{"type":"delivery","messageId":"m","profileId":"a b.*"}`, ReasonNoIdentity, "profileId"},
		{"a track without a name", `{"type":"track","messageId":"m","userId":"u","event":" "}`, ReasonNoEvent, "event"},
		{"a track whose name is a number", `{"type":"track","messageId":"m","userId":"u","event":5}`, ReasonNoEvent, "event"},
		{"no group", `{"type":"group","messageId":"m","userId":"u"}`, ReasonNoEvent, "groupId"},
		{"a list of groups", `{"type":"group","messageId":"m","userId":"u","groupId":["g"]}`, ReasonNoEvent, "groupId is neither"},
		{"no time", `{"type":"identify","messageId":"m","userId":"u","timestamp":"yesterday"}`, ReasonBadTime, `timestamp "yesterday"`},
		{"a number as time", `{"type":"identify","messageId":"m","userId":"u","timestamp":1777636800}`, ReasonBadTime, `timestamp "1777636800"`},
		{"a bad original time", `{"type":"identify","messageId":"m","userId":"u","timestamp":"2026-05-01T10:00:00Z","originalTimestamp":"x"}`, ReasonBadTime, `originalTimestamp "x"`},
		{"a bad sending time", `{"type":"identify","messageId":"m","userId":"u","timestamp":"2026-05-01T10:00:00Z","sentAt":"x"}`, ReasonBadTime, `sentAt "x"`},
		{"before 1970", `{"type":"identify","messageId":"m","userId":"u","timestamp":"1969-12-31T23:59:59Z"}`, ReasonBadTime, "before 1970"},
		{"in the year 1", `{"type":"identify","messageId":"m","userId":"u","timestamp":"0001-01-01T00:00:00Z"}`, ReasonBadTime, "before 1970"},
		{"in the year 1 of a sender in 2026", `{"type":"identify","messageId":"m","userId":"u","timestamp":"0001-01-01T00:00:00Z","sentAt":"2026-05-01T10:00:00Z"}`, ReasonBadTime, "before 1970"},
		{"a long error stays short", `{"type":"` + strings.Repeat("x", 10_000) + `","messageId":"m","userId":"u"}`, ReasonUnknownType, "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(event.Raw{Payload: []byte(c.payload), Accepted: at("2026-05-01T12:00:00Z")})
			reason, parked := pipeline.IsParked(err)
			if !parked || reason != c.reason {
				t.Fatalf("error %v (call %+v), want it parked as %s", err, got, c.reason)
			}
			if text := errors.Unwrap(err).Error(); !strings.Contains(text, c.says) || len(text) > 300 {
				t.Errorf("error %q: want it to name %q, in at most 300 bytes", text, c.says)
			}
		})
	}
}

func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{
		`{"type":"track","messageId":"m","userId":"u@x.example","event":"E","properties":{"email":"a","products":[{"name":"n","Street":["s",{}]}]},"traits":{"name":"x","a.Phone":null}}`,
		`{"type":"page","messageId":1,"anonymousId":2,"context":{"campaign":{"mail":"x"},"page":{"path":"/"},"traits":{"email":{"x":1}},"consent":{"categoryPreferences":{"email":true}}}}`,
		`{"type":"track","messageId":"m","userId":"u","event":"Subscribed","timestamp":"2026-05-01T10:00:00Z","sentAt":"2026-05-01T10:00:00Z","properties":{"e\u006dail":"\ud800"}}`,
		"{\"type\":\"identify\",\"messageId\":\"\xff\",\"userId\":\"u\",\"traits\":{\"\xff\\\"\":\"\xff\"}}",
	} {
		f.Add([]byte(seed))
	}
	split := newSeparator(vault.NewHasher([]byte("key")), vault.Declared{}, "")
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := bytes.Clone(payload)
		c, err := parse(event.Raw{Payload: payload, Accepted: at("2026-05-01T12:00:00Z")})
		if !bytes.Equal(before, payload) {
			t.Fatal("the payload was changed")
		}
		if err != nil {
			if _, parked := pipeline.IsParked(err); !parked {
				t.Fatalf("error without an instruction: %v", err)
			}
			return
		}
		if !json.Valid(payload) {
			t.Fatalf("took %q", payload)
		}
		e := event.Event{ID: c.ID, Type: c.Type, Name: c.Name, Profile: "p", User: split.user(c.User), Occurred: c.Occurred, Accepted: c.Accepted, Consent: consent(&c)}
		fields := map[string]vault.Field{}
		split.event(&e, &c, fields)
		data, err := e.Encode()
		if err != nil {
			t.Fatalf("%v: %q", err, payload)
		}
		got, err := event.Decode(data)
		if err != nil {
			t.Fatalf("%v: %q", err, data)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Fatalf("the event changes on its way (-sent +read):\n%s", diff)
		}
		if got.Occurred <= 0 || got.Occurred > got.Accepted {
			t.Fatalf("occurred %s, accepted %s", got.Occurred, got.Accepted)
		}
		if _, err := json.Marshal(vault.Entry{Fields: fields}); err != nil {
			t.Fatalf("vault: %v", err)
		}
	})
}

// A call may be so late and so far ahead, to the millisecond, and no more.
func TestLateAndFutureCalls(t *testing.T) {
	bounds := Settings{MaxLate: 48 * time.Hour, MaxFuture: time.Hour}
	for _, c := range []struct {
		name, timestamp, sentAt string
		settings                Settings
		historical, parked      bool
		occurred                string
	}{
		{"as late as may be", "2026-04-29T12:00:00Z", "", bounds, false, false, "2026-04-29T12:00:00Z"},
		{"later", "2026-04-29T11:59:59.999Z", "", bounds, true, false, "2026-04-29T11:59:59.999Z"},
		{"late by the sender's clock only", "2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z", bounds, false, false, "2026-05-01T11:59:59Z"},
		{"late though the sender's clock is right", "2026-04-01T00:00:00Z", "2026-05-01T12:00:00Z", bounds, true, false, "2026-04-01T00:00:00Z"},
		{"as far ahead as may be", "2026-05-01T13:00:00Z", "", bounds, false, false, "2026-05-01T12:00:00Z"},
		{"further ahead", "2026-05-01T13:00:00.001Z", "", bounds, false, true, ""},
		{"ahead by the sender's clock only", "2030-01-01T00:00:00Z", "2030-01-01T00:00:01Z", bounds, false, false, "2026-05-01T11:59:59Z"},
		{"ahead of when it was sent", "2026-05-01T11:00:00Z", "2026-05-01T09:59:59Z", bounds, false, true, ""},
		{"further apart than a Duration holds", "9999-01-01T00:00:00Z", "0002-01-01T00:00:00Z", bounds, false, true, ""},
		{"no bounds", "9999-01-01T00:00:00Z", "", Settings{}, false, false, "2026-05-01T12:00:00Z"},
		{"no bounds", "1971-01-01T00:00:00Z", "", Settings{}, false, false, "1971-01-01T00:00:00Z"},
		{"a week, by default", "2026-04-24T12:00:00Z", "", DefaultSettings(), false, false, "2026-04-24T12:00:00Z"},
		{"more than a week", "2026-04-24T11:59:59.999Z", "", DefaultSettings(), true, false, "2026-04-24T11:59:59.999Z"},
		{"a day ahead, by default", "2026-05-02T12:00:00Z", "", DefaultSettings(), false, false, "2026-05-01T12:00:00Z"},
		{"more than a day ahead", "2026-05-02T12:00:00.001Z", "", DefaultSettings(), false, true, ""},
	} {
		raw := event.Raw{Accepted: at("2026-05-01T12:00:00Z"), Payload: []byte(`{"type":"track","event":"E","messageId":"m","userId":"u","timestamp":"` + c.timestamp + `"}`)}
		if c.sentAt != "" {
			raw.SentAt = at(c.sentAt)
		}
		got, err := parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err = got.bound(c.settings); (err != nil) != c.parked {
			t.Errorf("%s, %s: parked is %v", c.name, c.timestamp, err)
		}
		if err == nil && (got.Historical != c.historical || got.Occurred != event.At(at(c.occurred))) {
			t.Errorf("%s, %s: occurred %s, historical %v", c.name, c.timestamp, got.Occurred, got.Historical)
		}
	}
	end, err := parse(event.Raw{Accepted: at("2026-05-01T12:00:00Z"), Payload: []byte(`{"type":"delivery","event":"Delivery","messageId":"m","profileId":"p","timestamp":"2026-01-01T00:00:00Z"}`)})
	if err != nil || end.bound(bounds) != nil || end.Historical {
		t.Errorf("a delivery's end is bounded: %+v, %v", end, err)
	}
}
