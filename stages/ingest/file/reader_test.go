package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/stages/ingest/mapping"
)

const ordersMapping = `
name: orders
reads: csv
group: .order
refuse: {reason: mixed_customers, when: '[.[].customer] | unique | length > 1'}
id: .[0].order
calls:
  - event: Order Completed
    user: .[0].customer
    time: '[.[].at] | min'
    properties: {total: '[.[] | [.quantity, .price]] | sum', products: '[.[] | {sku, price: ([.price] | sum)}]'}
`

const rowsMapping = `
name: rows
reads: [json, csv]
refuse: {reason: no_customer, when: .customer == null}
calls:
  - {event: Row, user: .customer, time: .at, properties: {price: '[.price] | sum', sku: .sku}}
`

func mappingOf(t testing.TB, text string) *mapping.Mapping {
	t.Helper()
	m, err := mapping.Parse("m.yaml", []byte(text), mapping.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mappingIn(t testing.TB, path string) *mapping.Mapping {
	t.Helper()
	m, err := mapping.Open(path, os.ReadFile, mapping.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// orders draws a file in which groups interleave and some rows can't be used.
func orders(t *rapid.T) []byte {
	var b bytes.Buffer
	b.WriteString("order,customer,at,sku,quantity,price\n")
	for i := range rapid.IntRange(0, 40).Draw(t, "rows") {
		order := rapid.IntRange(1, 12).Draw(t, "order")
		customer := fmt.Sprintf("c%d", order%5)
		if rapid.IntRange(0, 9).Draw(t, "without") == 0 {
			customer = ""
		}
		price := rapid.SampledFrom([]string{"1", "2.5", "0.1", "0.2", "19.99", "0.0001", "free"}).Draw(t, "price")
		fmt.Fprintf(&b, "%d,%s,2024-01-%02dT10:00:00Z,s%d,%d,%s\n", order, customer, 1+order, i, 1+i%3, price)
	}
	return b.Bytes()
}

func collect(t testing.TB, r *Reader) ([]Call, error) {
	t.Helper()
	var all []Call
	for c, err := range r.Calls(context.Background()) {
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

func TestResumeGivesTheRest(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{"grouped": ordersMapping, "rows": rowsMapping} {
		m := mappingOf(t, text)
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				data := orders(rt)
				if rapid.Bool().Draw(rt, "gzip") {
					data = gzipped(t, data)
				}
				path := filepath.Join(folder, "orders")
				if err := os.WriteFile(path, data, 0o600); err != nil {
					rt.Fatal(err)
				}
				whole := openFor(rt, path, Options{Mapping: m})
				all, err := collect(t, whole)
				if err != nil {
					rt.Fatal(err)
				}
				// Stop after some calls, any number of times.
				var pieces []Call
				var resume *Checkpoint
				saved := filepath.Join(folder, "checkpoint.json")
				for {
					r := openFor(rt, path, Options{Mapping: m, Resume: resume})
					stop := rapid.IntRange(1, 6).Draw(rt, "calls before the stop")
					n := 0
					for c, err := range r.Calls(context.Background()) {
						if err != nil {
							rt.Fatal(err)
						}
						pieces = append(pieces, c)
						if n++; n == stop {
							break
						}
					}
					if n < stop {
						if got, want := r.Report(), whole.Report(); got.Skipped+int64(n) != want.Calls || got.Refused != want.Refused {
							rt.Fatalf("report after resuming:\n%sin one go:\n%s", got, want)
						}
						break
					}
					point, err := r.Checkpoint(pieces[len(pieces)-1].Position)
					if err != nil {
						rt.Fatal(err)
					}
					if resume != nil { // once through the disk is enough: it syncs
						resume = &point
						continue
					}
					if err := point.Save(saved); err != nil {
						rt.Fatal(err)
					}
					if resume, err = LoadCheckpoint(saved); err != nil {
						rt.Fatal(err)
					}
				}
				if diff := cmp.Diff(all, pieces); diff != "" {
					rt.Fatalf("(-in one go +in pieces):\n%s", diff)
				}
			})
		})
	}
	if rest, _ := filepath.Glob(filepath.Join(folder, "checkpoint.json.*")); len(rest) > 0 {
		t.Errorf("left behind: %v", rest)
	}
}

func openFor(rt *rapid.T, path string, o Options) *Reader {
	r, err := Open(path, o)
	if err != nil {
		rt.Fatal(err)
	}
	rt.Cleanup(func() { r.Close() })
	return r
}

// The order of rows may change which call comes first, never what a call says but for the order of its items.
func TestGroupsDontNeedNeighbours(t *testing.T) {
	m := mappingOf(t, strings.Replace(ordersMapping, "'[.[] | {sku, price: ([.price] | sum)}]'", "null", 1))
	rapid.Check(t, func(rt *rapid.T) {
		lines := strings.SplitAfter(string(orders(rt)), "\n")
		lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
		shuffled := append(lines[:1:1], rapid.Permutation(lines[1:]).Draw(rt, "order")...)
		var said [2][]string
		for i, file := range [][]string{lines, shuffled} {
			r := openFor(rt, "-", Options{Mapping: m, Stdin: strings.NewReader(strings.Join(file, ""))})
			calls, err := collect(t, r)
			if err != nil {
				rt.Fatal(err)
			}
			for _, c := range calls {
				said[i] = append(said[i], string(c.Raw.Payload))
			}
			slices.Sort(said[i])
		}
		if diff := cmp.Diff(said[0], said[1]); diff != "" {
			rt.Fatalf("(-as written +shuffled):\n%s", diff)
		}
	})
}

const threeOrders = "order,customer,at,sku,quantity,price\n" +
	"1,a,2024-01-01T00:00:00Z,x,1,0.10\n2,b,2024-01-01T00:00:00Z,x,1,0.20\n3,c,2024-01-01T00:00:00Z,x,3,5.10\n"

func TestResumeIsRefused(t *testing.T) {
	m := mappingOf(t, ordersMapping)
	path := write(t, "orders.csv", []byte(threeOrders))
	r, err := Open(path, Options{Mapping: m})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	calls, err := collect(t, r)
	if err != nil || len(calls) != 3 {
		t.Fatalf("%d calls, %v", len(calls), err)
	}
	point, err := r.Checkpoint(calls[1].Position)
	if err != nil {
		t.Fatal(err)
	}
	other := mappingOf(t, ordersMapping+"# edited\n")
	ahead := point
	ahead.Position.Calls = 4
	forged := point
	forged.Position.Digest = calls[0].Position.Digest
	// Its first 64 KiB are those of the longer one: only the size tells them apart.
	prefix, err := Open(write(t, "orders.csv", bytes.Repeat([]byte(threeOrders+"#"), 800)), Options{Mapping: m})
	if err != nil {
		t.Fatal(err)
	}
	defer prefix.Close()
	longStart, err := prefix.Checkpoint(calls[0].Position)
	if err != nil {
		t.Fatal(err)
	}
	changed := write(t, "orders.csv", []byte(strings.Replace(threeOrders, "0.10", "0.90", 1)))
	for _, c := range []struct {
		name, path string
		mapping    *mapping.Mapping
		from       Checkpoint
		want       string
		is         error
	}{
		{"another file", changed, m, point, "orders.csv: the file changed since the checkpoint", ErrChanged},
		{"a longer file", write(t, "orders.csv", bytes.Repeat([]byte(threeOrders+"#"), 900)), m, longStart, "orders.csv: the file changed since the checkpoint", ErrChanged},
		{"another mapping", path, other, point, "the mapping orders, or its options, changed since the checkpoint", ErrChanged},
		{"fewer calls", path, m, ahead, "it has 3 calls and the checkpoint is after 4", ErrChanged},
		{"other calls before it", path, m, forged, "the calls before the checkpoint are others now", ErrChanged},
		{"standard input", "-", m, point, "can't be resumed", ErrNoResume},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Open(c.path, Options{Mapping: c.mapping, Resume: &c.from, Stdin: strings.NewReader(threeOrders)})
			if err == nil {
				defer r.Close()
				_, err = collect(t, r)
			}
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
		})
	}
}

func TestCheckpointFiles(t *testing.T) {
	if _, err := LoadCheckpoint(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	for _, text := range []string{"", "{", "{}", `{"fingerprint":"f","mapping":"m","position":{"calls":-1}}`} {
		if _, err := LoadCheckpoint(write(t, "checkpoint.json", []byte(text))); err == nil || !strings.Contains(err.Error(), "elete it to begin again") {
			t.Errorf("%q: %v", text, err)
		}
	}
	m := mappingOf(t, ordersMapping)
	r, err := Open("-", Options{Mapping: m, Stdin: strings.NewReader(threeOrders)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Checkpoint(Position{}); !errors.Is(err, ErrNoResume) {
		t.Errorf("a checkpoint of standard input: %v", err)
	}
}

// What a repeat import must not double has the same id; what differs has another.
func TestMessageIDs(t *testing.T) {
	ids := func(mapping, data string) []string {
		r, err := Open("-", Options{Mapping: mappingOf(t, mapping), Stdin: strings.NewReader(data)})
		if err != nil {
			t.Fatal(err)
		}
		calls, err := collect(t, r)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, c := range calls {
			all = append(all, c.ID)
		}
		return all
	}
	for _, mapping := range []string{ordersMapping, rowsMapping} {
		before := ids(mapping, threeOrders)
		longer := ids(mapping, strings.ReplaceAll(threeOrders, ",x,", `,"x",`)+"4,d,2024-01-01T00:00:00Z,x,1,1\n")
		edited := ids(strings.NewReplacer("{total: ", "{revenue: ", "sku: sku}", "product: sku}").Replace(mapping), threeOrders)
		renamed := ids(strings.Replace(mapping, "name: ", "name: other-", 1), threeOrders)
		if len(before) != 3 || !slices.Equal(before, longer[:3]) || !slices.Equal(before, edited) {
			t.Errorf("ids changed: %v, %v, %v", before, longer, edited)
		}
		if all := slices.Concat(longer, renamed); len(slices.Compact(slices.Sorted(slices.Values(all)))) != 7 {
			t.Errorf("ids collide: %v", all)
		}
	}
}

// Contacts without a time are news at each request; read from a file again they are not, and a row that comes twice is told.
func TestContactsReadAgain(t *testing.T) {
	contacts, err := mapping.Open("contacts", nil, mapping.Options{})
	if err != nil {
		t.Fatal(err)
	}
	read := func(data string) (ids []string, report Report) {
		r, err := Open("-", Options{Mapping: contacts, Stdin: strings.NewReader(data)})
		if err != nil {
			t.Fatal(err)
		}
		calls, err := collect(t, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			ids = append(ids, c.ID)
		}
		return ids, r.Report()
	}
	first, report := read("id,optin\n7,no\n7,yes\n7,no\n")
	again, _ := read("id,optin\n7,yes\n7,no\n")
	if len(first) != 2 || !slices.Equal(again, []string{first[1], first[0]}) {
		t.Errorf("ids %v, and read again %v", first, again)
	}
	if report.Refused != 1 || report.Reasons[0].Reason != "repeated_id" {
		t.Errorf("the row that comes twice: %s", report)
	}
}

func TestEncodings(t *testing.T) {
	utf8 := "customer,at,price,sku\né1,2024-01-01T00:00:00Z,1,Gänsefüßchen „x“ – 5 €\n"
	latin1 := []byte("customer,at,price,sku\n\xe91,2024-01-01T00:00:00Z,1,G\xe4nsef\xfc\xdfchen \x84x\x93 \x96 5 \x80\n")
	want, _ := importAll(t, "-", Options{Mapping: mappingOf(t, rowsMapping), Stdin: strings.NewReader(utf8)})
	// The id is a hash of the text, so equal text is equal to the byte.
	got, _ := importAll(t, "-", Options{Mapping: mappingOf(t, rowsMapping), Latin1: true, Stdin: bytes.NewReader(latin1)})
	if want.calls == "" || !strings.Contains(want.calls, "5 €") || got != want {
		t.Errorf("latin1:\n%+v\nutf-8:\n%+v", got, want)
	}
	refused, _ := importAll(t, "-", Options{Mapping: mappingOf(t, rowsMapping), Stdin: bytes.NewReader(latin1)})
	if refused.calls != "" || refused.refused != "standard input:2: invalid_utf8: not UTF-8: if the file is Latin-1, say --encoding latin1\n" {
		t.Errorf("latin1 read as UTF-8: %+v", refused)
	}
}

func TestBounds(t *testing.T) {
	m := mappingOf(t, ordersMapping)
	rows := mappingOf(t, rowsMapping)
	long := "1,a,2024-01-01T00:00:00Z," + strings.Repeat("x", 300) + ",1,1\n"
	for _, c := range []struct {
		name    string
		options Options
		data    string
		failure string
		refused string
	}{
		{"rows of groups", Options{Mapping: m, MaxGroupedRows: 2}, threeOrders, "standard input:4: group holds at most 2 rows", ""},
		{"bytes of groups", Options{Mapping: m, MaxGroupedBytes: 300}, threeOrders, "group holds at most", ""},
		{"record", Options{Mapping: rows, MaxRecord: 100}, threeOrders + long + threeOrders[38:], "", "standard input:5: too_long"},
		{"jsonl record", Options{Mapping: rows, MaxRecord: 100},
			`{"customer":"` + strings.Repeat("x", 90000) + "\"}\n" + `{"customer":"a","at":"x"}`, "", "standard input:1: too_long"},
		{"payload", Options{Mapping: m, MaxPayload: 300}, threeOrders + long, "", "payload_too_large"},
		{"quote that never closes", Options{Mapping: rows, MaxRecord: 100}, threeOrders + "4,d,\"2024\n" + strings.Repeat("5,e,2024-01-01T00:00:00Z,z,1,1\n", 9),
			"", "standard input:5: malformed: a quote opens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Stdin = strings.NewReader(c.data)
			got, calls := importAll(t, "-", c.options)
			if !strings.Contains(got.failure, c.failure) || (c.failure == "") != (got.failure == "") || !strings.Contains(got.refused, c.refused) {
				t.Errorf("failure %q, refused %q", got.failure, got.refused)
			}
			if c.failure == "" && strings.Contains(c.data, "5,e,") && !strings.Contains(got.calls, "line 6, 1 rows, key e") {
				t.Errorf("the rows after the line with the quote are lost:\n%s", got.calls)
			}
			if c.failure != "" && len(calls) > 0 {
				t.Errorf("%d calls before the failure", len(calls))
			}
		})
	}
}

func TestFilesThatCantBeRead(t *testing.T) {
	m := mappingOf(t, ordersMapping)
	zipped := gzipped(t, []byte(strings.Repeat(threeOrders, 2000)))
	damaged := bytes.Clone(zipped)
	damaged[len(damaged)-6] ^= 0xff
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"cut gzip", zipped[:len(zipped)/2], "the gzip file is cut short"},
		{"damaged gzip", damaged, "the gzip file is damaged"},
		{"spreadsheet", []byte("PK\x03\x04xxxx"), "save the sheet as CSV"},
		{"utf-16", []byte("\xff\xfeo\x00r\x00"), "iconv -f UTF-16"},
		{"blank", []byte("\n \n"), "the file is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, calls := importAll(t, write(t, "x.csv", c.data), Options{Mapping: m})
			if !strings.Contains(got.failure, c.want) || len(calls) > 0 {
				t.Errorf("%d calls, %q", len(calls), got.failure)
			}
		})
	}
	if got, _ := importAll(t, t.TempDir(), Options{Mapping: m}); !strings.Contains(got.failure, "it is a folder") {
		t.Error(got.failure)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), Options{Mapping: m}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestCancelAndReadOnce(t *testing.T) {
	for _, text := range []string{ordersMapping, rowsMapping} {
		r, err := Open("-", Options{Mapping: mappingOf(t, text), Stdin: strings.NewReader(threeOrders)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var failures []error
		calls := 0
		for _, err := range r.Calls(ctx) {
			if err != nil {
				failures = append(failures, err)
				continue
			}
			calls++
			cancel()
		}
		if calls != 1 || len(failures) != 1 || !errors.Is(failures[0], context.Canceled) {
			t.Errorf("%d calls, then %v", calls, failures)
		}
		if again, err := collect(t, r); err == nil || len(again) > 0 {
			t.Errorf("a second run: %d calls, %v", len(again), err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

// Sums of decimals that binary floats can't hold come out exactly.
func TestMoneyIsExact(t *testing.T) {
	data := "order,customer,at,sku,quantity,price\n" + strings.Repeat("1,a,2024-01-01T00:00:00Z,x,1,0.10\n", 153)
	_, calls := importAll(t, "-", Options{Mapping: mappingOf(t, ordersMapping), Stdin: strings.NewReader(data)})
	var p struct {
		Properties struct{ Total json.RawMessage }
	}
	if len(calls) != 1 || json.Unmarshal(calls[0].Raw.Payload, &p) != nil || string(p.Properties.Total) != "15.3" {
		t.Errorf("%d calls, total %s", len(calls), p.Properties.Total)
	}
}

// A row that several calls are made of counts once; one that the mapping ignores is neither in a call nor refused.
func TestRowsOfSeveralCallsAndOfNone(t *testing.T) {
	m := mappingOf(t, `
name: two
reads: csv
ignore: .test != null
calls:
  - {event: Signed Up, user: .id, time: .at}
  - {type: identify, user: .id, traits: {plan: .plan}}
`)
	r, err := Open("-", Options{Mapping: m, Stdin: strings.NewReader("id,at,plan,test\n1,2024-01-01,gold,\n2,2024-01-01,,yes\n3,,gold,\n")})
	if err != nil {
		t.Fatal(err)
	}
	calls, err := collect(t, r)
	if err != nil || len(calls) != 2 || calls[0].Event != "Signed Up" || calls[1].Event != "identify" || calls[0].ID == calls[1].ID {
		t.Errorf("%v: %+v", err, calls)
	}
	const want = `standard input: 3 rows: 1 in 2 calls, 1 refused
            1  rows were ignored, as the mapping says
            1  Signed Up
            1  identify
            1  refused: no_time (line 4)
               it says nothing of when it happened, and would count as happening now: give the call a time
`
	if got := r.Report().String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheMappingMustReadTheFormat(t *testing.T) {
	for input, text := range map[string]string{"a,b\n1,2\n": "name: x\ncalls: [{type: identify, user: .a}]\n", `{"a": 1}`: ordersMapping} {
		if _, err := Open("-", Options{Mapping: mappingOf(t, text), Stdin: strings.NewReader(input)}); err == nil || !strings.Contains(err.Error(), "reads: ") {
			t.Errorf("%q: %v", input, err)
		}
	}
}
