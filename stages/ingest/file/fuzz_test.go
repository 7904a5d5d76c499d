package file

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"attune/stages/ingest/mapping"
)

// FuzzImport gives any mapping any file: nothing panics, every row ends in one place, payloads are JSON.
func FuzzImport(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		var text, input []byte
		for _, file := range archive.Files {
			switch file.Name {
			case "mapping":
				text = file.Data
			case "input":
				input = file.Data
			}
		}
		if name, ok := strings.CutPrefix(string(archive.Comment), "mapping "); ok {
			name, _, _ = strings.Cut(name, "\n")
			if text, err = os.ReadFile(filepath.Join("testdata", name)); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(string(text), string(input))
	}
	f.Add(ordersMapping, threeOrders)
	f.Add(rowsMapping, "customer;\xe9\n\"")
	f.Fuzz(func(t *testing.T, text, input string) {
		m, err := mapping.Parse("m.yaml", []byte(text), mapping.Options{})
		if err != nil {
			return
		}
		r, err := Open("-", Options{Mapping: m, Stdin: strings.NewReader(input), MaxRecord: 4096})
		if err != nil {
			return
		}
		for c, err := range r.Calls(context.Background()) {
			if err != nil {
				return
			}
			if !json.Valid(c.Raw.Payload) || c.Raw.Key == "" || c.ID == "" {
				t.Fatalf("line %d: %q", c.Line, c.Raw.Payload)
			}
		}
		if report := r.Report(); report.Rows != report.CallRows+report.Ignored+report.Refused {
			t.Fatalf("rows went missing:\n%s", report)
		}
	})
}

// FuzzCSV holds the splitting of records against the standard library's, where that one reads the file.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "a\n\"x\n\ny\"\n", "a,b\n\"q\"\"q\",\r\n", "a\n\"\"\n\n\"\r\n\"\n", ",\n,\n", "a,b\n1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\r") || strings.ToValidUTF8(text, "") != text || strings.HasPrefix(text, "\ufeff") || len(text) > 4096 {
			return
		}
		std := csv.NewReader(strings.NewReader(text))
		std.FieldsPerRecord = -1
		type record struct {
			line   int
			fields []string
		}
		var want []record
		for {
			fields, err := std.Read()
			if fields == nil {
				if syntax := new(csv.ParseError); errors.As(err, &syntax) {
					return
				}
				break
			}
			if err != nil {
				return
			}
			line, _ := std.FieldPos(0)
			want = append(want, record{line, fields})
		}
		s := &source{name: "x"}
		if s.unpack(strings.NewReader(text)) != nil {
			return
		}
		tab := &table{lines: &lines{from: s, max: 1 << 20}, format: CSV, csv: csvRecord{delimiter: ','}}
		for i := 0; ; i++ {
			r, bad, err := tab.csvRow()
			if err != nil {
				if i != len(want) {
					t.Fatalf("%d records, want %d", i, len(want))
				}
				return
			}
			if bad != nil || i >= len(want) || !slices.Equal(r.cells, want[i].fields) || r.line != want[i].line {
				t.Fatalf("record %d: %q at line %d (%+v), want %+v", i, r.cells, r.line, bad, want)
			}
		}
	})
}
