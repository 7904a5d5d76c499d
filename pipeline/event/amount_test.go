package event

import "testing"

func TestRevenue(t *testing.T) {
	for properties, want := range map[string]Money{
		`{"revenue":1.5,"total":2}`: 15_000, `{"total":2}`: 20_000, `{"revenue":"3.33333"}`: 33_333, `{"revenue":"x","total":4}`: 40_000,
		`{"revenue":0,"total":9}`: 0, `{"revenue":null,"total":5}`: 50_000, `{"revenue":1e30}`: 0, `{}`: 0, ``: 0, `{"revenue":-1.25}`: -12_500,
		`{"revenue":1,"revenue":2}`: 20_000, `{"total":3,"products":[{"price":40,"quantity":2}]}`: 30_000,
	} {
		for _, e := range []Event{{Type: Track, Name: OrderCompleted}, {Type: Track, Name: OrderRefunded}, {Type: Track, Name: "Checkout Started"}, {Type: Page}} {
			e.Properties = Object(properties)
			if got := e.Revenue(); got != want {
				t.Errorf("%s %s %s: got %s, want %s", e.Type, e.Name, properties, got, want)
			}
		}
	}
}

// Lists and carts show products too: only what was bought or returned is money.
func TestRevenueOfProducts(t *testing.T) {
	for properties, want := range map[string]Money{
		`{"products":[{"price":40,"quantity":2}]}`: 800_000, `{"revenue":"?","products":[{"price":"1.5"},{"price":2,"quantity":null}]}`: 35_000,
		`{"products":[{"price":2.5,"quantity":-2},{"quantity":9},{"price":1,"quantity":"many"},7]}`: -50_000, `{"products":{"price":1}}`: 0,
		`{"products":[{"price":900000000000000,"quantity":900000000000000},{"price":1}]}`: 1<<63 - 1,
	} {
		for _, e := range []Event{{Type: Track, Name: OrderCompleted}, {Type: Track, Name: OrderRefunded}} {
			e.Properties = Object(properties)
			if got := e.Revenue(); got != want {
				t.Errorf("%s %s: got %s, want %s", e.Name, properties, got, want)
			}
		}
		for _, e := range []Event{{Type: Track, Name: "Cart Viewed"}, {Type: Page, Name: OrderCompleted}} {
			e.Properties = Object(properties)
			if got := e.Revenue(); got != 0 {
				t.Errorf("%s %s %s: got %s, want none", e.Type, e.Name, properties, got)
			}
		}
	}
}
