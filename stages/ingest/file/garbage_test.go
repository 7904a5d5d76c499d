package file

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"attune/pipeline/pipetest"
)

// A megabyte (in groups a quarter of it) of anything between good rows is refused, each row of it by its line with the reason, and the good rows around
// it become calls: of CSV and of JSONL, by themselves and in groups.
func TestGarbageBetweenRowsIsRefused(t *testing.T) {
	const header = "order,customer,at,sku,quantity,price\n"
	asCSV := func(n int) string { return fmt.Sprintf("o%d,c%d,2024-01-01T10:00:00Z,s,1,2\n", n, n) }
	asJSON := func(n int) string {
		return fmt.Sprintf(`{"customer":"c%d","at":"2024-01-01T10:00:00Z","price":[1]}`+"\n", n)
	}
	for _, c := range []struct {
		name, mapping, header string
		row                   func(n int) string
		size                  int
	}{
		{"csv", rowsMapping, header, asCSV, 1 << 20},
		{"csv in groups", ordersMapping, header, asCSV, 1 << 18},
		{"jsonl", rowsMapping, "", asJSON, 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			for what, garbage := range pipetest.Garbage(c.size) {
				data := c.header + c.row(1) + c.row(2) + garbage + "\n" + c.row(3) + c.row(4)
				first, last := strings.Count(c.header, "\n")+3, strings.Count(data, "\n")-2
				var refused []Refusal
				r, err := Open("-", Options{
					Mapping: mappingOf(t, c.mapping), Stdin: strings.NewReader(data), OnRefusal: func(no Refusal) { refused = append(refused, no) },
				})
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				calls, err := collect(t, r)
				var keys []string
				for _, call := range calls {
					keys = append(keys, call.Raw.Key)
				}
				if want := []string{"c1", "c2", "c3", "c4"}; err != nil || !slices.Equal(keys, want) {
					t.Errorf("%s: calls of %v, %v; want %v", what, keys, err, want)
				}
				report := r.Report()
				if report.Refused == 0 || report.Rows != report.CallRows+report.Refused || report.Refused != int64(len(refused)) {
					t.Errorf("%s: %d refusals told, and the report says\n%s", what, len(refused), report)
				}
				for _, no := range refused {
					if no.File != "standard input" || no.Line < first || no.Line > last || no.Reason == "" || no.Err == nil || len(no.Error()) > 1000 {
						t.Errorf("%s: refused as %.2000s", what, no.Error())
						break
					}
				}
			}
		})
	}
}

// A file that is nothing but garbage becomes no call, whatever it is taken for.
func TestGarbageFilesBecomeNothing(t *testing.T) {
	for what, garbage := range pipetest.Garbage(1 << 18) {
		for _, text := range []string{rowsMapping, ordersMapping} {
			r, err := Open("-", Options{Mapping: mappingOf(t, text), Stdin: strings.NewReader(garbage)})
			if err != nil {
				if len(err.Error()) > 1000 {
					t.Errorf("%s: the error has %d bytes", what, len(err.Error()))
				}
				continue
			}
			calls, err := collect(t, r)
			if report := r.Report(); len(calls) > 0 || report.Rows != report.Refused {
				t.Errorf("%s: %d calls, error %v\n%s", what, len(calls), err, report)
			}
		}
	}
}
