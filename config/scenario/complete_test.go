package scenario_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/config"
	"attune/config/scenario"
)

func TestAllKindsOfSteps(t *testing.T) {
	for name, text := range map[string]string{
		"an alias makes two ids one customer, whom either names": `
steps:
  - {at: 0s, track: {user: old, event: Liked}}
  - {at: 1m, alias: {user: new, previous: old}}
  - {at: 2m, track: {user: new, event: Other}}
  - at: 2m
    expect:
      segments: {fan: [old]}
      profile: {new: {'total("Liked")': 1, 'total("Other")': 1}}
      decisions: [{user: new, campaign: hello, outcome: suppressed, reason: consent_unknown}]`,
		"a group's traits count as the customer's": `
steps:
  - {at: 0s, group: {user: u1, group: acme, traits: {plan: pro}}}
  - {at: 0s, expect: {segments: {pro: [u1]}, profile: {u1: {trait.plan: pro}}}}`,
		"changed definitions look back at what happened, fire nothing, and let go of members": `
steps:
  - {at: 0s, track: {user: u1, event: Liked}}
  - {at: 30m, track: {user: u2, event: Loved}}
  - {at: 30m, identify: {user: u3, traits: {plan: pro}, consent: {email: true}}}
  - {at: 80m, expect: {segments: {fan: [], pro: [u3]}}}
  - {at: 90m, apply: {segments: {fan: 'did("Liked", "2h") || did("Loved", "2h") || consent("email")', both: 'in_segment("fan") && count("Liked", "1d") >= 1'}, remove: [pro]}}
  - {at: 90m, expect: {segments: {fan: [u1, u2, u3], both: [u1]}, decisions: [], deliveries: []}}
  - {at: 2h, expect: {segments: {fan: [u2, u3], both: []}}}
  - {at: 150m, expect: {segments: {fan: [u3]}}}
  - {at: 3h, track: {user: u4, event: Liked}}
  - {at: 3h, expect: {decisions: [{user: u4, campaign: hello, outcome: suppressed, reason: consent_unknown}]}}`,
		"a changed campaign and text count from then on, for what waits too": `
steps:
  - {at: 0s, identify: {user: u1, traits: {plan: pro, first_name: Ann}, consent: {email: true}}}
  - {at: 0s, apply: {campaigns: {hello: {wait: 2h}}}}
  - {at: 1m, track: {user: u1, event: Liked}}
  - {at: 2m, apply: {campaigns: {bye: {on: {segment_exited: fan}, send: {destination: mail, from: a@shop.example, subject: Bye, template: new}}}, templates: {new: {html: <p>bye</p>}}}}
  - {at: 61m, expect: {deliveries: [{user: u1, campaign: bye, at: 61m, contains: [<p>bye</p>]}]}}
  - {at: 90m, apply: {campaigns: {hello: {send: {subject: Changed}}}, remove: [bye]}}
  - {at: 119m, expect: {deliveries: [], decisions: []}}
  - at: 3h
    expect: {deliveries: [{user: u1, campaign: hello, at: 121m, subject: Changed, contains: [<p>Ann pro]}]}
  - {at: 3h, track: {user: u1, event: Liked}}
  - {at: 5h, apply: {templates: {t: {html: <p>other</p>}}}}
  - {at: 6h, track: {user: u1, event: Liked}}
  - at: 9h
    expect:
      deliveries:
        - {user: u1, campaign: hello, at: 5h, contains: [<p>Ann pro]}
        - {user: u1, campaign: hello, at: 8h, contains: [<p>other</p>]}`,
		"a change fires when it is told to": `
steps:
  - {at: 0s, identify: {user: u1, traits: {plan: pro}, consent: {email: true}}}
  - {at: 1m, apply: {segments: {fan: 'trait("plan") == "pro"'}, fire: true}}
  - {at: 1m, expect: {segments: {fan: [u1]}, deliveries: [{user: u1, campaign: hello, at: 1m}]}}
  - {at: 2m, apply: {segments: {fan: 'did("Liked", "1h")'}}}
  - {at: 3m, apply: {segments: {fan: 'trait("plan") == "pro"'}}}
  - {at: 3m, expect: {segments: {fan: [u1]}, deliveries: []}}`,
		"who was in a segment as another profile alone doesn't leave it, who was there does": `
steps:
  - {at: 0s, apply: {segments: {fan: 'did("Liked", "1d") && !did("Order Completed", "30d")'}, remove: [hello], campaigns: {bye: {on: {segment_exited: fan}, send: {destination: mail, from: a@shop.example, subject: Bye, template: t}}}}}
  - {at: 1m, track: {user: w1, event: Order Completed, consent: {email: true}}}
  - {at: 1m, track: {user: w2, event: Liked, consent: {email: true}}}
  - {at: 2m, track: {user: l1, event: Liked}}
  - {at: 2m, track: {user: l2, event: Order Completed}}
  - {at: 3m, expect: {segments: {fan: [w2, l1]}}}
  - {at: 4m, alias: {user: w1, previous: l1}}
  - {at: 4m, alias: {user: w2, previous: l2}}
  - {at: 5m, expect: {segments: {fan: []}, decisions: [{user: w2, campaign: bye, outcome: fired}], deliveries: [{user: w2, campaign: bye, at: 4m}]}}`,
		"what is known of a customer": `
steps:
  - {at: 0s, page: {anonymous: a1, name: Home, context: {timezone: Europe/Rome}}}
  - {at: 1h, track: {user: u1, anonymous: a1, event: Product Added, properties: {product_id: p1, category: hats, price: 20, quantity: 2}}}
  - at: 1h
    expect:
      profile: {a1: {cart_items: 2, cart_value: 40, lifecycle: visitor, tier: null, recency_days: null, first_order: null, trait.plan: null, 'in_cart("p1")': true, send_hour: 11}}
  - {at: 2h, track: {user: u1, event: Order Completed, consent: {email: true}, properties: {total: 49.5, products: [{category: hats, price: 20}]}}}
  - at: 2d1h
    expect:
      profile: {u1: {customer.orders: 1, revenue: 49.5, recency_days: 1, lifecycle: new, consent.email: true, style_group: hats, 'affinity("category", "hats")': 1, 'in_cart("p1")': false}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, text); got != "" {
				t.Errorf("failures:\n%s", got)
			}
		})
	}
}

func TestFailingProfilesAreReadable(t *testing.T) {
	got := run(t, `steps:
  - {at: 0s, identify: {user: u1, traits: {plan: pro}}}
  - at: 1m
    expect:
      profile:
        u1: {trait.plan: free, orders: 0, consent.email: true, last_seen: null}
        u2: {orders: 1}
`)
	want := `tests/x.scenario.yaml:6:13: the profile of u1 at 1m is not as expected
    - consent.email: true
    + consent.email: unknown
    - last_seen: null
    + last_seen: 0s
      orders: 0
    - trait.plan: free
    + trait.plan: "pro"
tests/x.scenario.yaml:7:13: nobody is known as u2 at 1m
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMistakesInScenarios(t *testing.T) {
	_, problems := scenario.Parse("x", []byte(`steps:
  - {at: 0s, alias: {user: u1}}
  - {at: 0s, group: {user: u1}}
  - {at: 0s, apply: {}}
  - {at: 0s, apply: {segments: {fan: 'did("Liked"'}}}
  - {at: 0s, expect: {segments: {new: []}}}
  - {at: 0s, apply: {segments: {new: 'true'}}}
  - {at: 0s, expect: {segments: {new: []}}}
  - {at: 0s, apply: {campaigns: {hello: {wiat: 2h}}}}
  - {at: 0s, apply: {campaigns: {hello: {audience: 'ever("A") &&', wait: 500d}}}}
  - {at: 0s, apply: {campaigns: {second: {on: {event: A}}}, templates: {t: {html: "<p>{{ custmer }}</p>"}}}}
  - {at: 0s, apply: {remove: [fan, fun]}}
  - {at: 0s, apply: {remove: [fan]}}
  - {at: 0s, expect: {profile: {u1: {ordres: 1}}}}
  - {at: 0s, expect: {profile: {u1: {'count("Liked", "1d")': 1}}}}
`), shop(t), config.DefaultInstallation("mail"))
	got := problems.Error()
	for _, want := range []string{
		"2:21: ", "needs user and previous", "group is missing", "changes nothing", `5:50: when: missing ')'`, `6:39: `, `unknown segment "new"`,
		`9:42: unknown key "wiat"`, "10:65: audience: unexpected end of the rule", "10:74: wait: ", "11:42: send.destination: is missing", `11:90: unknown name "custmer"`,
		`"fun" is no segment`, `13:21: on.segment_entered: campaigns/hello.yaml: unknown segment "fan"`,
		"customer.ordres is unknown (did you mean orders?)", "for the rules that ask for it only",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q:\n%s", want, got)
		}
	}
	if n := len(problems); n != 17 {
		t.Errorf("%d problems, want 17:\n%s", n, got)
	}
}

// What can't be used is told where it stands.
func TestCallThatCannotBeUsed(t *testing.T) {
	ws := shop(t)
	s, problems := scenario.Parse("x.scenario.yaml", []byte("steps:\n  - {at: 0s, track: {user: ' ', event: Liked}}\n"), ws, config.DefaultInstallation("mail"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if _, err := s.Run(ws); err == nil || !strings.Contains(err.Error(), "x.scenario.yaml:2:5: the call can't be used: ") || !strings.Contains(err.Error(), "neither userId nor anonymousId") {
		t.Errorf("got %v", err)
	}
}
