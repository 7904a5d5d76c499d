package recommend_test

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/trigger/recommend"
)

const day = 24 * time.Hour

var start = event.At(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))

// basket are products by their ids.
func basket(ids string) (items []recommend.Item) {
	for _, id := range strings.Fields(ids) {
		items = append(items, recommend.Item{ID: id, Name: "product " + id})
	}
	return items
}

func built(baskets ...string) *recommend.Model {
	b := recommend.NewBuilder(start)
	for _, ids := range baskets {
		b.Basket(basket(ids), start)
	}
	return b.Build()
}

// The likeness is n_ij / (sqrt(n_i n_j) + 10), of those that lay together twice.
func TestLikeness(t *testing.T) {
	m := built("a b", "a b", "a b c", "a c", "a", "d", "d", "d c")
	at := map[string]int{}
	for i, item := range m.Items {
		at[item.ID] = i
	}
	got := map[string]uint16{}
	for i, j := range m.Near[at["a"]] {
		got[m.Items[j].ID] = m.Alike[at["a"]][i]
	}
	// a lies in 5 baskets, b in 3, c in 3; a and b together in 3, a and c in 2.
	if diff := cmp.Diff(map[string]uint16{"b": 2162, "c": 1442}, got); diff != "" {
		t.Errorf("like a (-want +got):\n%s", diff)
	}
	if m.Items[0].ID != "a" || len(m.Near[at["d"]]) != 0 {
		t.Errorf("the items are %v, near d %v", m.Items, m.Near[at["d"]])
	}
}

func TestChoose(t *testing.T) {
	var baskets []string
	for range 10 {
		baskets = append(baskets, "a b", "a b", "a b", "a c", "a c", "e f", "e f", "g", "g", "g", "g", "h")
	}
	m := built(baskets...)
	known := func(change func(p *profile.Profile)) *profile.Profile {
		p := profile.New("p")
		change(p)
		return p
	}
	for _, c := range []struct {
		name    string
		profile *profile.Profile
		wish    recommend.Wish
		out     string
		want    string
	}{
		{"who is unknown gets what is popular", profile.New("p"), recommend.Wish{Count: 3}, "", "a popular, g popular, b popular"},
		{"what is bought together", known(func(p *profile.Profile) { p.Buy("a", start) }), recommend.Wish{Count: 3}, "",
			"b bought_together, c bought_together, g popular"},
		{"what was bought again", known(func(p *profile.Profile) { p.Buy("a", start) }), recommend.Wish{Count: 2, Again: true}, "",
			"a bought_before, b bought_together"},
		{"what was bought long ago weighs less", known(func(p *profile.Profile) { p.Buy("a", start.Add(-200*day)); p.View("e", start) }), recommend.Wish{Count: 2}, "",
			"f bought_together, g popular"},
		{"what lies in the cart is had", known(func(p *profile.Profile) {
			p.ChangeCart(profile.CartChange{At: start, Product: "a", Quantity: 1})
			p.ChangeCart(profile.CartChange{At: start, Product: "b", Quantity: 1})
		}), recommend.Wish{Count: 2}, "", "c bought_together, g popular"},
		{"what was taken out of the cart is not", known(func(p *profile.Profile) {
			p.ChangeCart(profile.CartChange{At: start, Product: "a", Quantity: 1})
			p.ChangeCart(profile.CartChange{At: start + 1, Product: "a", Quantity: -1})
		}), recommend.Wish{Count: 2}, "", "a popular, g popular"},
		{"nothing that is out of stock", known(func(p *profile.Profile) { p.Buy("a", start) }), recommend.Wish{Count: 2}, "b g", "c bought_together, e popular"},
		{"a product that nobody knows says nothing", known(func(p *profile.Profile) { p.Buy("z", start) }), recommend.Wish{Count: 1}, "", "a popular"},
		{"fewer than asked for", known(func(p *profile.Profile) { p.Buy("g", start) }), recommend.Wish{Count: 20}, "a b c e f", "h popular"},
		{"none", profile.New("p"), recommend.Wish{}, "", ""},
	} {
		products := recommend.NewProducts(m, recommend.OutOfStock(nil).With(strings.Fields(c.out)...))
		var got []string
		for _, choice := range products.Choose(c.profile, start, c.wish) {
			got = append(got, choice.ID+" "+choice.Why)
			if choice.Name != "product "+choice.ID {
				t.Errorf("%s: %+v", c.name, choice)
			}
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: got %q, want %q", c.name, text, c.want)
		}
	}
	if got := (recommend.Products{}).Choose(profile.New("p"), start, recommend.Wish{Count: 3}); got != nil {
		t.Errorf("without a model %v", got)
	}
}

func TestModelIsReadBack(t *testing.T) {
	m := built("a b", "a b c", "b c")
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := recommend.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, read, cmpopts.IgnoreUnexported(recommend.Model{})); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
	p := profile.New("p")
	p.Buy("a", start)
	if diff := cmp.Diff(recommend.NewProducts(m, nil).Choose(p, start, recommend.Wish{Count: 3}), recommend.NewProducts(read, nil).Choose(p, start, recommend.Wish{Count: 3})); diff != "" {
		t.Error(diff)
	}
	for name, change := range map[string]func(*recommend.Model){
		"a list is short":        func(m *recommend.Model) { m.Near = m.Near[1:] },
		"no such item":           func(m *recommend.Model) { m.Near[0][0] = 9 },
		"two items with one id":  func(m *recommend.Model) { m.Items[0].ID = m.Items[1].ID },
		"a likeness is missing ": func(m *recommend.Model) { m.Alike[0] = m.Alike[0][1:] },
	} {
		broken := built("a b", "a b c", "b c")
		change(broken)
		data, err := broken.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := recommend.Decode(data); err == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
	if _, err := recommend.Decode([]byte("{}")); err == nil {
		t.Error("what is not compressed is read")
	}
}

func TestReadProducts(t *testing.T) {
	for properties, want := range map[string][]recommend.Item{
		`{"products":[{"product_id":"a","name":"A","price":"9.50","image_url":"i","url":"u","category":"c"},{"sku":7},{"name":"x"},3]}`: {
			{ID: "a", Name: "A", Price: "9.50", Image: "i", URL: "u", Category: "c"}, {ID: "7"},
		},
		`{"product_id":"","sku":"s","price":3}`: {{ID: "s", Price: "3.00"}},
		`{"products":[]}`:                       nil,
	} {
		if diff := cmp.Diff(want, recommend.ReadProducts(event.Object(properties))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", properties, diff)
		}
	}
}

// onlineRetail are the orders of a gift shop.
func onlineRetail(t testing.TB) (orders []recommend.Order) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "data", "online_retail_2010-12_2011-05.csv.gz"))
	if err != nil {
		t.Skipf("the public data set is not here: %v", err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for _, row := range rows[1:] {
		number, product, when, customer := row[0], row[1], row[4], row[6]
		if customer == "NA" || strings.HasPrefix(number, "C") {
			continue
		}
		i, known := at[number]
		if !known {
			moment, err := time.Parse(time.DateTime, when)
			if err != nil {
				t.Fatal(err)
			}
			i = len(orders)
			at[number] = i
			orders = append(orders, recommend.Order{Customer: customer, At: event.At(moment)})
		}
		orders[i].Products = append(orders[i].Products, recommend.Item{ID: product})
	}
	return orders
}

// The last month of Online Retail: what is recommended is bought more often than what is popular.
func TestBeatsPopularity(t *testing.T) {
	trained, err := recommend.Train(onlineRetail(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := trained.Card
	t.Logf("%d orders of %d products; %d customers after %s: %+v, popular %+v", c.Orders, c.Products, c.Holdout.Customers, c.HoldoutSince, c.Holdout, c.Popular)
	if c.Holdout.Customers < 500 || c.HoldoutSince.Time().Format(time.DateOnly) != "2011-05-01" {
		t.Errorf("held out are %d customers from %s on", c.Holdout.Customers, c.HoldoutSince)
	}
	if !(c.Holdout.HitRate > c.Popular.HitRate+0.1 && c.Holdout.NewHitRate > c.Popular.NewHitRate) || c.Holdout.Worse(c.Popular) {
		t.Errorf("hit rates %+v, of what is popular %+v", c.Holdout, c.Popular)
	}
}

func TestTooLittleToTrain(t *testing.T) {
	for name, orders := range map[string][]recommend.Order{
		"no order":            nil,
		"no products":         {{Customer: "a", At: start}},
		"nobody bought again": {{Customer: "a", At: start, Products: basket("x")}, {Customer: "b", At: start.Add(9 * day), Products: basket("x")}},
	} {
		if _, err := recommend.Train(orders, nil); err == nil || !strings.Contains(err.Error(), "recommendations:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a mail costs: a customer of many products, among as many as a model can have.
func BenchmarkChoose(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	build := recommend.NewBuilder(start)
	for range 60_000 {
		var items []recommend.Item
		for range 6 {
			items = append(items, recommend.Item{ID: fmt.Sprint(int(r.ExpFloat64()*3000) % recommend.MaxItems)})
		}
		build.Basket(items, start)
	}
	model := build.Build()
	p := profile.New("p")
	for range profile.MaxBought {
		p.Buy(fmt.Sprint(int(r.ExpFloat64()*3000)%recommend.MaxItems), start.Add(-time.Duration(r.IntN(100))*day))
	}
	for range profile.MaxViewed {
		p.View(fmt.Sprint(int(r.ExpFloat64()*3000)%recommend.MaxItems), start.Add(-time.Duration(r.IntN(100))*day))
	}
	var half, all recommend.OutOfStock
	for i := range recommend.MaxItems {
		all = append(all, fmt.Sprint(i))
		if i%2 == 0 {
			half = append(half, fmt.Sprint(i))
		}
	}
	for _, c := range []struct {
		name string
		out  recommend.OutOfStock
	}{{"in stock", nil}, {"half out of stock", half}, {"all out of stock", all}} {
		products := recommend.NewProducts(model, c.out)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				products.Choose(p, start, recommend.Wish{Count: 6})
			}
		})
	}
}
