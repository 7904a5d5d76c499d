package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/trigger/recommend"
)

// Mails that are ordered after a product went out of stock don't recommend it, and do so again after it came back, without
// a restart; a replay decides the same.
func TestStockIsObeyedWithoutARestart(t *testing.T) {
	a := install(t, 1)
	build := recommend.NewBuilder(event.Instant(1_700_000_000_000))
	for product, baskets := range map[string]int{"a": 5, "b": 4, "c": 3} {
		for range baskets {
			build.Basket([]recommend.Item{{ID: product}}, event.Instant(1_700_000_000_000))
		}
	}
	data, err := build.Build().Encode()
	if err != nil {
		t.Fatal(err)
	}
	hash, err := a.definitions.store.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	ws, err := config.LoadWorkspace(fstest.MapFS{
		"workspace.yaml": {Data: []byte("name: test\n")},
		"campaigns/greet.yaml": {Data: []byte("id: greet\non: {event: Product Viewed}\n" +
			"send: {destination: mail, from: hi@shop.example, subject: Hello, template: t, recommend: {count: 2}}\n")},
		"templates/t.html": {Data: []byte("hello")},
	})
	if err != nil {
		t.Fatal(err)
	}
	workspace, _, err := ws.Encode()
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(1_700_000_000_000)
	a.model(modelObject{Models: enrich.DefaultModels(), Calibrated: clv.CDNOW(), Products: &productsRef{hash, hash}}, at) // position 1
	if _, _, err := a.definitions.store.Apply(t.Context(), pipeline.KindDefinitions, workspace, at); err != nil {         // position 2
		t.Fatal(err)
	}
	stop := a.chain()
	publish := func(e event.Event) { a.append(event.At(at), e) }
	publish(event.Event{Type: event.Identify, Consent: map[string]bool{"email": true}}) // position 3
	position := uint64(3)
	view := func(first ...string) {
		t.Helper()
		if len(first) > 0 {
			said := a.printed("product_id,quantity\na,0\nb,0\n", append([]string{"stock"}, first...)...)
			if !strings.Contains(said, "out of stock") {
				t.Errorf("%v says %q", first, said)
			}
			if !strings.Contains(said, "nothing changed") { // all know it then
				position++
			}
		}
		publish(event.Event{Type: event.Track, Name: "Product Viewed"})
		position++
		a.awaitCommit(position)
	}
	view()
	view("out", "a", "mistyped")
	view("out", "a") // nothing new
	view("set", "--file", "-")
	view("in", "a", "b")
	stop()

	var got []string
	for commit := range a.commits(topology.Subject(topology.Commits, 0)) {
		for _, d := range commit.Deliveries {
			var mail struct {
				Recommendations []recommend.Choice `json:"recommendations"`
			}
			if err := json.Unmarshal(d.Data, &mail); err != nil {
				t.Fatal(err)
			}
			ids := fmt.Sprint(commit.Controls[pipeline.KindStock].Version)
			for _, choice := range mail.Recommendations {
				ids += " " + choice.ID
			}
			got = append(got, ids)
		}
	}
	if diff := cmp.Diff([]string{"0 a b", "1 b c", "1 b c", "2 c", "3 a b"}, got); diff != "" {
		t.Errorf("version of the stock, and products (-want +got):\n%s", diff)
	}
	replayer, err := replay.New(replay.Config{JetStream: a.js, Load: a.definitions.chain, Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	if report, _, err := replayer.Partition(t.Context(), 0, nil); err != nil || !report.Equal() {
		t.Errorf("replay: %+v, %v", report, err)
	}
}

// What the commands say, and what they refuse.
func TestStockCommands(t *testing.T) {
	a := install(t, 1)
	for i, step := range []struct {
		in   string
		args string
		code int
		says string
	}{
		{"", "list", 0, "0 out of stock\n"},
		{"", "out b a b", 0, "2 out of stock (2 more, 0 back), version 1: mails that are ordered from now on obey\n"},
		{"", "list", 0, "a\nb\n2 out of stock\n"},
		{"", "out a", 0, "nothing changed: 2 out of stock\n"},
		{"", "in a c", 0, "1 out of stock (0 more, 1 back), version 2: mails that are ordered from now on obey\nnot out of stock anyhow: c\n"},
		{"7\n\n 8 \n7\n", "set --file -", 0, "2 out of stock (2 more, 1 back), version 3: mails that are ordered from now on obey\n"},
		{"name,SKU\nx,8\ny,9\n", "set --file -", 0, "2 out of stock (1 more, 1 back), version 4: mails that are ordered from now on obey\n"},
		{"name,id\nx,10\n", "set --file - --column id", 0, "1 out of stock (1 more, 2 back), version 5: mails that are ordered from now on obey\n"},
		{"name,id\nx,10\n", "set --file -", 1, "attune: stock set: -: there is no column \"sku\": the first line has name, id; --column says which has the ids\n"},
		{"sku\na\n" + strings.Repeat("x", 129), "set --file -", 1, "want a product's id of 1 to 128 bytes"},
		{"sku,n\na,1\n,2\n", "set --file -", 1, `attune: stock set: -:3:1: sku is "": want a product's id`},
		{"", "set --file -", 1, "attune: stock set: -: it is empty: want a first line with the columns' names\n"},
		{"", "set --file none.csv", 1, "attune: stock set: open none.csv: no such file or directory\n"},
		{"", "set", 2, "missing flags: --file=FILE"},
		{"", "out", 2, `expected "<sku> ..."`},
		{strings.Repeat("many", 30) + "\n" + numbered(recommend.MaxOutOfStock), "set --file -", 1, "attune: stock: 100001 products are out of stock: at most 100000 can be told"},
		{"", "list", 0, "10\n1 out of stock\n"},
		{"product_id\n", "set --file -", 0, "0 out of stock (0 more, 1 back), version 6: mails that are ordered from now on obey\n"},
	} {
		var said bytes.Buffer
		args := append(append([]string{"stock"}, strings.Fields(step.args)...), "--config", a.file)
		code := run(t.Context(), args, streams{in: strings.NewReader(step.in), out: &said, err: &said})
		if code != step.code || !strings.Contains(said.String(), step.says) || step.code == 0 && said.String() != step.says {
			t.Errorf("%d %s: exit code %d, %q; want %d, %q", i, step.args, code, said.String(), step.code, step.says)
		}
	}
	var together sync.WaitGroup
	for i := range 5 {
		together.Go(func() { a.printed("", "stock", "out", fmt.Sprint(i)) })
	}
	together.Wait()
	var report stockReport
	if err := json.Unmarshal([]byte(a.printed("", "stock", "list", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	if want := (recommend.OutOfStock{"0", "1", "2", "3", "4"}); !cmp.Equal(want, report.OutOfStock) || report.Version != 11 || report.Since.IsZero() {
		t.Errorf("after five at the same moment: %+v", report)
	}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}
