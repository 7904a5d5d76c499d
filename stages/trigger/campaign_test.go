package trigger_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline/rule"
	"attune/stages/trigger"
)

const full = `
id: cart-abandonment
on: {event: Product Added, where: event.properties.price > 10}
key: cart_id
wait: 1h30m
unless: {event: Order Completed}
audience: consent("email") && customer.clv > 20
cap: {per: day, max: 1}
send: {destination: mail, from: "Shop <hi@shop.example>", subject: "Your cart, {{ customer.traits.first_name }}", template: cart, not_after: 2d}
`

func TestCampaignReadsAsWritten(t *testing.T) {
	var got trigger.Campaign
	if err := yaml.UnmarshalWithOptions([]byte(full), &got, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	want := trigger.Campaign{
		ID: "cart-abandonment", On: trigger.On{Event: "Product Added", Where: "event.properties.price > 10"}, Key: "cart_id",
		Wait: trigger.Duration(90 * time.Minute), Unless: &trigger.Unless{Event: "Order Completed"},
		Audience: `consent("email") && customer.clv > 20`, Cap: &trigger.Cap{Per: "day", Max: 1},
		Send: trigger.Send{Destination: "mail", From: "Shop <hi@shop.example>", Subject: "Your cart, {{ customer.traits.first_name }}",
			Template: "cart", NotAfter: trigger.Duration(48 * time.Hour)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("campaign (-want +got):\n%s", diff)
	}
	if err := got.Check(compiler(t), segments()); err != nil {
		t.Error(err)
	}
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var back trigger.Campaign
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Errorf("through JSON (-want +got):\n%s", diff)
	}
}

func TestWhatDoesNotWorkYetIsNoField(t *testing.T) {
	for _, line := range []string{"holdout: 5%", "quiet_hours: 22:00-08:00", "on: {trait_changed: plan}", "mode: live"} {
		var c trigger.Campaign
		if err := yaml.UnmarshalWithOptions([]byte(line), &c, yaml.Strict()); err == nil {
			t.Errorf("%q was read as %+v, want an error", line, c)
		}
	}
}

func TestDuration(t *testing.T) {
	pattern := regexp.MustCompile(trigger.DurationPattern)
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "30s": 30 * time.Second, "90m": 90 * time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute,
		"2d": 48 * time.Hour, "1w": 7 * 24 * time.Hour, "1w1d1h1m1s": 7*24*time.Hour + 25*time.Hour + time.Minute + time.Second,
	} {
		var d trigger.Duration
		if err := yaml.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v, want %v", text, time.Duration(d), err, want)
		}
		if !pattern.MatchString(text) {
			t.Errorf("%s does not match the pattern", text)
		}
	}
	for _, text := range []string{"", "1", "h", "-1h", "1.5h", "1m1h", "1h1h", "1 h", "100ms", "1y", "9999999999999999999s", "15251w", "15250w9d"} {
		d := trigger.Duration(7)
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %s, want an error", text, d)
		} else if !strings.Contains(err.Error(), `"`+text+`"`) {
			t.Errorf("%q: error %q does not name it", text, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := trigger.Duration(time.Duration(rapid.Int64Range(0, 9e9).Draw(t, "seconds")) * time.Second)
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got trigger.Duration
		if err := got.UnmarshalText(text); err != nil || got != want || !pattern.Match(text) {
			t.Fatalf("%d is written %s and read %d: %v", want, text, got, err)
		}
	})
}

func TestCheck(t *testing.T) {
	const ok = "send: {destination: mail, from: hi@shop.example, subject: S, template: t}\n"
	tests := []struct {
		name, yaml string
		want       []string // one part of each error's text, in order
	}{
		{"nothing wrong", "id: a\non: {segment_exited: vip}\nwait: 400d\nunless: {event: E}\naudience: in_segment(\"vip\")\ncap: {per: day, max: 100}\n" + ok, nil},
		{"empty", "{}", []string{
			`campaign "": id: is no id (lower-case letters`, "on: names 0 triggers (give one of event, segment_entered and segment_exited)",
			"send.destination: is missing", "send.from: is no mail address", "send.subject: is not one line", "send.template: is missing"}},
		{"id", "id: Cart Abandonment\non: {event: E}\n" + ok, []string{`id: "Cart Abandonment": is no id`}},
		{"two triggers", "id: a\non: {event: E, segment_entered: vip}\n" + ok, []string{"on: names 2 triggers"}},
		{"segments", "id: a\non: {segment_entered: vips}\n" + ok, []string{`on.segment_entered: "vips": is no segment (known: lapsed, vip)`}},
		{"of the event only", "id: a\non: {segment_exited: vip, where: event.properties.x == 1}\nkey: k\n" + ok, []string{
			`on.where: "event.properties.x == 1": there is no event to look at`, `key: "k": there is no event to take a key from`}},
		{"where about the customer", "id: a\non: {event: E, where: 'event.properties.x == 1 && ever(\"F\")'}\n" + ok,
			[]string{"on.where: \"event.properties.x == 1 && ever(\\\"F\\\")\": asks about the customer (where looks at the event alone"}},
		{"audience about an event that there is not", "id: a\non: {segment_exited: vip}\naudience: event.properties.x == 1\n" + ok, []string{"audience: 1:1: "}},
		{"rules", "id: a\non: {event: E, where: 'event.properties.x = 1'}\naudience: |\n  consent(\"email\") &&\n  in_segment(\"vips\")\n" + ok,
			[]string{"on.where: 1:", "audience: 2:"}},
		{"several mistakes in one rule", "id: a\non: {event: E}\naudience: did(\"x\", 5) && customer.age > 3\n" + ok, []string{"audience: 1:", "audience: 1:"}},
		{"wait", "id: a\non: {event: E}\nwait: 401d\n" + ok, []string{`wait: "401d": is out of range (0 to 400d)`}},
		{"unless without wait", "id: a\non: {event: E}\nunless: {event: F}\n" + ok, []string{`unless: "F": there is no wait to cancel`}},
		{"unless itself", "id: a\non: {event: E}\nwait: 1h\nunless: {event: E}\n" + ok, []string{`unless.event: "E": is the trigger as well`}},
		{"unless nothing", "id: a\non: {event: E}\nwait: 1h\nunless: {}\n" + ok, []string{"unless.event: is missing"}},
		{"cap", "id: a\non: {event: E}\ncap: {per: week, max: 0}\n" + ok, []string{`cap.per: "week": is no period`, `cap.max: "0": is out of range (1 to 100)`}},
		{"recommend", "id: a\non: {event: E}\nsend: {destination: mail, from: hi@shop.example, subject: s, template: t, recommend: {count: 21, bought: never}}",
			[]string{`send.recommend.count: "21": is out of range (1 to 20)`, `send.recommend.bought: "never": is none of the words`}},
		{"send", "id: a\non: {event: E}\nsend: {destination: mail, from: Shop, subject: \"a\\nb\", template: t, not_after: 31d}\n",
			[]string{`send.from: "Shop": is no mail address`, `send.subject: "a\nb": is not one line`, `send.not_after: "31d": is out of range (up to 30d)`}},
	}
	c := compiler(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var campaign trigger.Campaign
			if err := yaml.UnmarshalWithOptions([]byte(tt.yaml), &campaign, yaml.Strict()); err != nil {
				t.Fatal(err)
			}
			err := campaign.Check(c, segments())
			errs := trigger.FieldErrors(err)
			if len(errs) != len(tt.want) {
				t.Fatalf("%d errors, want %d:\n%v", len(errs), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.Contains(errs[i].Error(), want) {
					t.Errorf("error %q does not say %q", errs[i], want)
				}
				if errs[i].Campaign != campaign.ID {
					t.Errorf("error of campaign %q, want %q", errs[i].Campaign, campaign.ID)
				}
				var of *rule.Error
				if isRule := errs[i].Rule != nil; isRule != errors.As(errs[i], &of) {
					t.Errorf("error %q: the rule's own error is not inside", errs[i])
				}
			}
			if _, err := trigger.New([]trigger.Campaign{campaign}, c, segments()); (err != nil) != (len(tt.want) > 0) {
				t.Errorf("New: %v", err)
			}
		})
	}
}

func TestNewReportsAllCampaigns(t *testing.T) {
	good := read(t, `[{id: a, on: {event: E}`+send+`]`)[0]
	bad := good
	bad.ID, bad.Send.Template = "b", ""
	_, err := trigger.New([]trigger.Campaign{good, bad, good}, compiler(t), nil)
	var got []string
	for _, e := range trigger.FieldErrors(err) {
		got = append(got, e.Campaign+" "+e.Field+": "+e.Problem)
	}
	if diff := cmp.Diff([]string{"a id: names two campaigns", "b send.template: is missing"}, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}
