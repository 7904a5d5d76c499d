package profile_test

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// A state that the first version stored, before there were activities, leanings, a cart and a standing, is read whole:
// what it didn't know is empty.
func TestAnOldStateIsRead(t *testing.T) {
	const stored = "0a027031" + "10d00f" + "1807" + "2002" + "2804" + // id, now, applied, first, last
		"320f" + "0a04706c616e" + "12052270726f22" + "1806" + // trait
		"3a0b" + "0a05656d61696c" + "1001" + "1808" + // consent
		"4205" + "0a0141" + "1002" + // count
		"4a10" + "0801" + "1890a10f" + "280a" + "300a" + "3a04" + "0290a10f" + // orders
		"520f" + "0814" + "11000000000000e03f" + "180c" + "200e" // scores
	want := &profile.Profile{
		ID: "p1", Now: 1000, Applied: 7, First: 1, Last: 2,
		Traits:     map[string]profile.Trait{"plan": {Value: event.Object(`"pro"`), At: 3}},
		Consents:   map[string]profile.Consent{"email": {Granted: true, At: 4}},
		Activities: []profile.Activity{{Name: "A", Count: 2}},
		Orders:     profile.Orders{Count: 1, Revenue: 125000, First: 5, Last: 5, Days: []profile.Day{{Day: 1, Spent: 125000}}},
		Scores:     profile.Scores{CLV: 10, Alive: 0.5, Scored: 6, Next: 7},
	}
	data, err := hex.DecodeString(stored)
	if err != nil {
		t.Fatal(err)
	}
	got, err := profile.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("an old state is read otherwise (-want +got):\n%s", diff)
	}
	got.Happens("A").At(9, 20_000) // and goes on: times are known from here on
	if want := (profile.Activity{Name: "A", Count: 3, Sum: 20_000, First: 9, Last: 9}); got.Activity("A") != want {
		t.Errorf("activity %+v, want %+v", got.Activity("A"), want)
	}
}

// The second version's bytes, part by part.
func TestFeaturesFormatIsStable(t *testing.T) {
	p := &profile.Profile{
		ID:         "p",
		Activities: []profile.Activity{{Name: "A", Count: 2, Sum: 5, First: 10, Last: 30}, {Name: "B", Count: 1, First: 4, Last: 4}},
		Orders: profile.Orders{
			Count: 1, Refunds: 1, Revenue: 10, Refunded: 4, First: 1, Last: 1, Days: []profile.Day{{Day: 3, Spent: 10}},
			RefundDays: []profile.Day{{Day: 4, Spent: 4}},
			Currencies: []profile.Currency{{}, {Code: "GBP", Orders: 1, Refunds: 1, Revenue: 10, Refunded: 4}},
		},
		Viewed:   []profile.View{{Product: "x", At: 9}, {Product: "y", At: 7}},
		Cart:     []profile.CartChange{{At: 8, Product: "x", Quantity: 2, Price: 5}, {At: 9, Product: "x", Quantity: -1}},
		Zone:     profile.Zone{Name: "Europe/Rome", At: 6},
		Standing: profile.Standing{Lifecycle: profile.AtRisk, Tier: "gold", Until: 50},
	}
	p.Leanings[profile.Category] = profile.Leaning{Weights: []profile.Weight{{Name: "a", Sum: 1}, {Name: "b", Sum: 0.5}}, Rest: 2}
	p.Leanings[profile.Hour] = profile.Leaning{Weights: []profile.Weight{{Name: "07", Sum: 1}}}
	const want = "0a0170" + // id
		"420b" + "0a0141" + "1002" + "180a" + "2014" + "2828" + // activity: first, and the distance of the last
		"4207" + "0a0142" + "1001" + "2008" + // one that happened once
		"4a25" + "0801" + "1001" + "1814" + "2008" + "2802" + "3002" + "3a020614" + // orders, day
		"4200" + "420d" + "0a03474250" + "1001" + "1801" + "2014" + "2808" + // currencies
		"4a020808" + // refund day
		"8a011f" + "110000000000000040" + "1a14" + "0161" + "000000000000f03f" + "0162" + "000000000000e03f" + // category
		"8a010f" + "0804" + "1a0b" + "023037" + "000000000000f03f" + // hour
		"920106" + "0178" + "12" + "0179" + "03" + // viewed
		"9a0109" + "0810" + "120178" + "1804" + "200a" + "9a0107" + "0812" + "120178" + "1801" + // cart
		"a2010f" + "0a0b4575726f70652f526f6d65" + "100c" + // zone
		"aa010a" + "0803" + "1204676f6c64" + "1864" // standing
	if got := hex.EncodeToString(profile.Encode(p)); got != want {
		t.Errorf("stored bytes changed; profiles of earlier versions must stay readable\n got %s\nwant %s", got, want)
	}
	data, err := hex.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := profile.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Errorf("read otherwise (-want +got):\n%s", diff)
	}
}
