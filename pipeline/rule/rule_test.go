package rule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func customer() *profile.Profile {
	return &profile.Profile{
		ID: "p", Now: 5000,
		Traits: map[string]profile.Trait{
			"plan": {Value: event.Object(`"pro"`)}, "age": {Value: event.Object(`18`)}, "vip": {Value: event.Object(`true`)},
			"address": {Value: event.Object(`{"country":"GB","geo":{"lat":51.5}}`)}, "gone": {Value: event.Object(`null`)},
		},
		Consents:   map[string]profile.Consent{"email": {Granted: true}, "sms": {}},
		Activities: []profile.Activity{{Name: "Order Completed", Count: 2}},
		Orders:     profile.Orders{Count: 2, Refunds: 1, Revenue: 1_001_000, Refunded: 250_000},
		Scores:     profile.Scores{CLV: 205_000, Confidence: 0.5, Alive: 0.75, Next: 9000},
		Segments:   map[string]profile.Membership{"loyal": {In: true, Until: 7000}, "idle": {Until: 8000}},
	}
}

func TestEval(t *testing.T) {
	trigger := Trigger{Name: "Product Added", Properties: event.Object(`{"price":50,"gift":false,"cart":{"id":"c1"},"odd":"50"}`)}
	c := compiler(t)
	for _, k := range []struct {
		text  string
		want  bool
		until event.Instant
	}{
		{`trait("plan") == "pro"`, true, 0},
		{`trait("plan") != "pro"`, false, 0},
		{`trait("plan") in ["free", "pro"]`, true, 0},
		{`trait("plan") == 5 || trait("plan") >= 0 || trait("plan") < 0`, false, 0},
		{`trait("age") >= 18 && trait("age") <= 18.0 && trait("age") == 18.0`, true, 0},
		{`trait("age") == "18"`, false, 0},
		{`trait("vip") == true && trait("vip") != false`, true, 0},
		{`trait("address.country") == "GB" && trait("address.geo.lat") > 51`, true, 0},
		{`has_trait("plan") && !has_trait("gone") && !has_trait("nope") && !has_trait("plan.x")`, true, 0},
		{`trait("nope") == "x" || trait("nope") < 5 || trait("nope") >= 5 || trait("nope") in ["x"]`, false, 0},
		{`trait("nope") != "x" && trait("gone") != true`, true, 0},
		{`consent("email")`, true, 0},
		{`consent("sms") || consent("push")`, false, 0},
		{`ever("Order Completed") && !ever("Order Refunded") && total("Order Completed") == 2`, true, 0},
		{`customer.clv > 20`, true, 9000},
		{`customer.clv == 20.5 && customer.alive == 0.75 && customer.clv_confidence >= 0.5`, true, 9000},
		{`customer.clv_confidence > 0.5`, false, 9000},
		{`customer.alive < 0.5 && consent("sms")`, false, 0}, // consent alone keeps it false
		{`customer.orders == 2 && customer.refunds == 1 && customer.revenue == 100.1 && customer.net_revenue == 75.1`, true, 0},
		{`customer.clv < customer.revenue && customer.orders >= customer.refunds && total("Order Completed") == customer.orders`, true, 9000},
		{`in_segment("loyal")`, true, 7000},
		{`in_segment("idle") || in_segment("other")`, false, 8000},
		{`in_segment("idle") && customer.clv > 100`, false, 9000}, // both must change
		{`customer.clv > 100 && in_segment("idle")`, false, 9000},
		{`customer.clv > 1 || in_segment("loyal")`, true, 9000}, // while one of them holds
		{`in_segment("loyal") && customer.clv > 1`, true, 7000},
		{`event.name == "Product Added" && event.name in ["X", "Product Added"] && event.name != "X"`, true, 0},
		{`event.properties.price >= 50 && property("price") == 50 && event.properties.gift == false`, true, 0},
		{`event.properties.cart.id == "c1" && property("cart.id") in ["c1"] && has_property("cart") && !has_property("cart.x")`, true, 0},
		{`event.properties.odd == 50 || event.properties.odd > 1`, false, 0},
		{`true && !false`, true, 0},
		{`did("A", "1h") || false`, false, 0},
	} {
		r, err := c.Compile(k.text, WithEvent(), WithSegments(map[string]bool{"loyal": true, "idle": true, "other": true}))
		if err != nil {
			t.Errorf("%s: %v", k.text, err)
			continue
		}
		if ok, until := r.Eval(Input{Profile: customer(), Now: 5000, Event: trigger}); ok != k.want || until != k.until {
			t.Errorf("%s = %v until %d, want %v until %d", k.text, ok, until, k.want, k.until)
		}
		if ok, until := r.Eval(Input{Profile: profile.New("nobody"), Now: 5000}); until != 0 {
			t.Errorf("%s of nobody = %v until %d, want it to hold for ever", k.text, ok, until)
		}
	}
}

// A score that is due and not recomputed changes by the step that recomputes it, so it can't be waited for.
func TestOverdueScoreHasNoUntil(t *testing.T) {
	p := customer()
	p.Scores.Next = 5000
	if ok, until := compile(t, `customer.clv > 20`).Eval(Input{Profile: p, Now: 5000}); !ok || until != 0 {
		t.Errorf("got %v until %d", ok, until)
	}
}

func TestWindowEdges(t *testing.T) {
	r := compile(t, `did("A", "10s")`)
	leaves := NewLeafSet(r)
	p := profile.New("p")
	p.Now = 100_000
	leaves.Record(p, &event.Event{Type: event.Track, Name: "A", Occurred: 120_000})
	leaves.Record(p, &event.Event{Type: event.Track, Name: "A", Occurred: 95_000})
	leaves.Record(p, &event.Event{Type: event.Page, Name: "A", Occurred: 100_000})
	for _, k := range []struct {
		at    event.Instant
		want  bool
		until event.Instant
	}{
		{100_000, true, 105_000}, {104_999, true, 105_000}, {105_000, false, 120_000}, {119_999, false, 120_000},
		{120_000, true, 130_000}, {129_999, true, 130_000}, {130_000, false, 0},
	} {
		if ok, until := r.Eval(Input{Profile: p, Now: k.at}); ok != k.want || until != k.until {
			t.Errorf("at %d: %v until %d, want %v until %d", k.at, ok, until, k.want, k.until)
		}
	}
}

// Two events exactly one window apart never share a window.
func TestCountAcrossTheEdge(t *testing.T) {
	r := compile(t, `count("A", "10s") >= 2`)
	leaves := NewLeafSet(r)
	p := profile.New("p")
	p.Now = 100_000
	for _, at := range []event.Instant{100_000, 110_000, 115_000} {
		leaves.Record(p, &event.Event{Type: event.Track, Name: "A", Occurred: at})
	}
	for _, k := range []struct {
		at    event.Instant
		want  bool
		until event.Instant
	}{{100_000, false, 115_000}, {110_000, false, 115_000}, {115_000, true, 120_000}, {120_000, false, 0}} {
		if ok, until := r.Eval(Input{Profile: p, Now: k.at}); ok != k.want || until != k.until {
			t.Errorf("at %d: %v until %d, want %v until %d", k.at, ok, until, k.want, k.until)
		}
	}
}

func TestLeafSet(t *testing.T) {
	one := compile(t, `count("A", "1h") >= 2 && did("A", {"color": "red"}, "60m")`)
	other := compile(t, `count("A", "60m") > 4 || did("B", "1h") || ever("C")`)
	campaign := compile(t, `did("A", "1h")`, WithEvent())
	s := NewLeafSet(one, other)
	if n := len(s.Leaves()); n != 3 {
		t.Fatalf("%d leaves, want 3: equal ones share", n)
	}
	p := profile.New("p")
	p.Now = event.At(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for i := range 20 {
		s.Record(p, &event.Event{Type: event.Track, Name: "A", Occurred: p.Now - event.Instant(i)})
		s.Record(p, &event.Event{Type: event.Track, Name: "C", Occurred: p.Now})
	}
	if len(p.Windows) != 1 {
		t.Fatalf("kept %v, want one leaf's times", p.Windows)
	}
	for id, times := range p.Windows {
		if want := []event.Instant{p.Now, p.Now - 1, p.Now - 2, p.Now - 3, p.Now - 4}; !slices.Equal(times, want) {
			t.Errorf("kept %v, want the newest five %v: the highest threshold of all rules", times, want)
		}
		if campaign.Leaves()[0].ID == id {
			t.Error("a campaign's leaf must not share its times with a segment's: both stages record")
		}
	}
	campaigns := NewLeafSet(campaign)
	campaigns.Record(p, &event.Event{Type: event.Track, Name: "A", Occurred: p.Now})
	NewLeafSet(one).Forget(p)
	NewLeafSet().Forget(p)
	if len(p.Windows) != 2 {
		t.Errorf("kept %v: forgot what is still asked for", p.Windows)
	}
	NewLeafSet(compile(t, `ever("A")`)).Forget(p)
	if _, ok := p.Windows[campaign.Leaves()[0].ID]; len(p.Windows) != 1 || !ok {
		t.Errorf("kept %v, want the campaign's only", p.Windows)
	}
	p.Now = p.Now.Add(time.Hour)
	s.Expire(p)
	if len(p.Windows) != 1 {
		t.Errorf("kept %v: expired another set's times", p.Windows)
	}
	campaigns.Expire(p)
	if len(p.Windows) != 0 {
		t.Errorf("kept %v beyond the window", p.Windows)
	}
}

func TestTimesAheadAreBounded(t *testing.T) {
	r := compile(t, `count("A", "1h") >= 2`)
	s := NewLeafSet(r)
	p := profile.New("p")
	p.Now = 1_000_000
	for i := range 600 {
		s.Record(p, &event.Event{Type: event.Track, Name: "A", Occurred: p.Now + event.Instant(1000-2*i)})
	}
	times := p.Windows[r.Leaves()[0].ID]
	if len(times) != MaxAhead+2 || times[len(times)-1] != p.Now-2 || times[0] != p.Now+2*MaxAhead {
		t.Errorf("kept %d times from %d to %d", len(times), times[len(times)-1]-p.Now, times[0]-p.Now)
	}
}

// Profiles in the log of a running system hold times under these ids.
func TestLeafIDsAreStable(t *testing.T) {
	leaves := compile(t, `did("Product Viewed", {"price": 10.50, "category": "sneakers", "gift": true}, "24h")`).Leaves()
	if len(leaves) != 1 {
		t.Fatal(leaves)
	}
	if got, want := leaves[0].Definition(), `"Product Viewed" {"category":"sneakers","gift":true,"price":10.5} 86400000`; got != want {
		t.Errorf("definition %s, want %s", got, want)
	}
	var h uint64 = 14695981039346656037 // FNV-1a 64, by hand
	for _, b := range []byte(leaves[0].Definition()) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	if leaves[0].ID != h&^1 {
		t.Errorf("id %d, want %d", leaves[0].ID, h&^1)
	}
}

func TestReads(t *testing.T) {
	r := compile(t, `did("B", "1h") && ever("A") && total("B") > customer.orders && trait("x") == 1 && in_segment("s")`,
		WithSegments(map[string]bool{"s": true}))
	want := Reads{
		Fields: []string{"customer.orders", "event:A", "event:B", "segment:s", "trait:x"},
		Events: []string{"B"}, Totals: []string{"A", "B"}, Segments: []string{"s"},
	}
	if diff := cmp.Diff(want, r.Reads()); diff != "" {
		t.Error(diff)
	}
	r = compile(t, `consent("email") && customer.alive > 0.5 && has_property("x")`, WithEvent())
	if diff := cmp.Diff(Reads{Fields: []string{"consent:email", "customer.alive", "property:x"}, Event: true}, r.Reads()); diff != "" {
		t.Error(diff)
	}
}

func TestEvalAllocatesNothing(t *testing.T) {
	r := compile(t, `(count("A", {"color": "red"}, "1h") >= 2 || !did("B", "7d")) && trait("plan") == "pro" && trait("address.geo.lat") > 5 &&
		customer.clv > 20 && consent("email") && event.properties.cart.id in ["c0", "c1"] && in_segment("loyal") && total("Order Completed") > 1`,
		WithEvent(), WithSegments(map[string]bool{"loyal": true}))
	in := Input{Profile: customer(), Now: 5000, Event: Trigger{Name: "A", Properties: event.Object(`{"cart":{"id":"c1"},"color":"red"}`)}}
	if ok, _ := r.Eval(in); !ok {
		t.Fatal("the rule must hold, or not all of it is measured")
	}
	if n := testing.AllocsPerRun(1000, func() { r.Eval(in) }); n != 0 {
		t.Errorf("Eval allocates %v times", n)
	}
	s := NewLeafSet(r)
	e := &event.Event{Type: event.Track, Name: "A", Properties: in.Event.Properties}
	for i := range 10 {
		e.Occurred = event.Instant(4000 + i)
		s.Record(in.Profile, e)
	}
	if n := testing.AllocsPerRun(1000, func() { e.Occurred++; s.Record(in.Profile, e) }); n > 0 {
		t.Errorf("Record allocates %v times in the steady state", n)
	}
}

func TestParseWindow(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "30m": 30 * time.Minute, "24h": 24 * time.Hour, "7d": 168 * time.Hour, "2w": 336 * time.Hour, "400d": MaxWindow, "007d": 168 * time.Hour,
	} {
		if got, err := ParseWindow(text); err != nil || got != want {
			t.Errorf("ParseWindow(%q) = %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "h", "24", "1.5h", "-1h", "+1h", "1h30m", "24 h", " 24h", "24H", "0d", "401d", "58w", "9601h", "999999999999d", "٣d", "1é"} {
		if got, err := ParseWindow(text); err == nil {
			t.Errorf("ParseWindow(%q) = %s", text, got)
		}
	}
}

func TestCompileBounds(t *testing.T) {
	c := compiler(t)
	var e *Error
	if _, err := c.Compile(strings.Repeat(" ", MaxText) + "true"); !errors.As(err, &e) || !strings.Contains(e.Message, "8192") {
		t.Errorf("too long: %v", err)
	}
	if _, err := c.Compile("ever(\"\xff\")"); !errors.As(err, &e) {
		t.Errorf("not UTF-8: %v", err)
	}
	long := strings.TrimSuffix(strings.Repeat(`ever("A") && `, 600), " && ")
	if r, err := c.Compile(long); err != nil || strings.Count(r.String(), "total") != 600 {
		t.Errorf("a long flat rule: %v", err)
	}
	_, err := c.Compile(strings.TrimSuffix(strings.Repeat(`evr("A") && `, 600), " && "))
	if n := len(Errors(err)); n != maxErrors {
		t.Errorf("%d mistakes told, want %d", n, maxErrors)
	}
}

func TestCompilerIsSafeForConcurrentUse(t *testing.T) {
	c := compiler(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				text := fmt.Sprintf(`count("E%d", "1h") >= %d && customer.clv > 1`, i, j+1)
				if r, err := c.Compile(text); err != nil || !strings.Contains(r.String(), fmt.Sprintf(`at_least(%d, "E%d"`, j+1, i)) {
					t.Errorf("%s: %v %v", text, r, err)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzCompile: no text makes the compiler panic or take long; what compiles can be evaluated.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`count("A", {"x": 1}, "1h") >= 2 && !did("B", "7d")`, `trait("a") in ["x"]`, `event.properties.a.b > -1.5`, `customer.clv`,
		`((((`, `!!!!a`, `[[[[]]]]`, `{"a":{"b":1}}`, `a.b.c(d)[e]{f:1}`, `"\u00ff" == b'\xff'`, `a ? b : c ? d : e`, "\"\"\"\n\"\"\"", `1 in 2 in 3`,
		`in_segment("s")`, `.a.b`, `-1--1`, `0x7fffffffffffffff`, `1e308*10`, "//", `count("A","1h")==9223372036854775807`,
		`sum("A", "x", {"y": {">=": 1}}, "today") > 5 && avg("A", "x") != 2.5`, `trait("a").contains("b") == true`, `last("A", "x").matches("a+") || first("A", "x") in [1, "b"]`,
		`sequence(["A", ["B", {"x": ["y"]}]], "1h", "1d") && !not_followed("A", "B", "1m", "2w")`, `since(trait("a.b")) > "1d" && until(last("A")) < "400d"`,
		`distinct("A", "x", "this month") == 99 || min("A", "x", "2026-01-01/") < -1e3 || in_percent("s", 0.01)`, `date("0001-01-01") < first("A", {"x": true})`,
		`affinity("category", "x") >= 0.3 && favourite("brand") != "y" && customer.style_confidence >= 0.5 && in_cart("p")`,
		`customer.lifecycle == "new" && customer.tier in ["gold"] && customer.recency_days == 1e300 && customer.send_hour > -1 && since(customer.cart_changed) > "1d"`,
	} {
		f.Add(seed)
	}
	c := compiler(f)
	opts := []Option{WithEvent(), WithSegments(map[string]bool{"s": true})}
	f.Fuzz(func(t *testing.T, text string) {
		began := time.Now()
		r, err := c.Compile(text, opts...)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		if err != nil {
			lines := strings.Split(text, "\n")
			for _, e := range Errors(err) {
				if e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Column > len([]rune(lines[e.Line-1]))+1 || e.Message == "" {
					t.Errorf("%q: mistake at %d:%d outside of the text: %s", text, e.Line, e.Column, e.Message)
				}
			}
			if len(Errors(err)) == 0 {
				t.Errorf("%q: %v holds no *Error", text, err)
			}
			return
		}
		p := customer()
		s := NewLeafSet(r)
		for _, l := range r.Leaves() {
			for i, properties := range []string{`{"x":"y","y":2}`, `{"x":5}`, ``} {
				s.Record(p, &event.Event{Type: event.Track, Name: l.Event, Occurred: p.Now + event.Instant(i-1), Properties: event.Object(properties)})
			}
		}
		if _, until := r.Eval(Input{Profile: p, Now: p.Now}); until != 0 && until <= p.Now {
			t.Errorf("%q: until %d is not later", text, until)
		}
		if again, err := c.Compile(r.Text(), opts...); err != nil || again.String() != r.String() {
			t.Errorf("%q doesn't compile again: %v", text, err)
		}
	})
}

func BenchmarkEval(b *testing.B) {
	r := compile(b, `count("Product Viewed", {"category": "sneakers"}, "24h") >= 2 && !did("Order Completed", "7d")`)
	p := customer()
	s := NewLeafSet(r)
	for range 2 {
		s.Record(p, &event.Event{Type: event.Track, Name: "Product Viewed", Occurred: 4000, Properties: event.Object(`{"category":"sneakers"}`)})
	}
	in := Input{Profile: p, Now: 5000}
	b.ReportAllocs()
	for b.Loop() {
		r.Eval(in)
	}
}
