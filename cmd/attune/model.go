package main

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// modelCommand shows and chooses what attune train made, and fits models to a file of one's own, to check what they are
// worth there.
type modelCommand struct {
	List       modelListCommand       `cmd:"" help:"Show the models that were trained, and which is in force."`
	Show       modelShowCommand       `cmd:"" help:"Show one model: what each part was learned from, how good it is, and its parameters."`
	Use        modelUseCommand        `cmd:"" help:"Put a model in force that was trained before."`
	Fit        modelFitCommand        `cmd:"" help:"Fit a model of purchases or spend to a CSV of purchases; prints JSON."`
	Propensity modelPropensityCommand `cmd:"" help:"Cross-validate the propensity model on a CSV with a yes-or-no column; prints JSON."`
}

// csvTable is a CSV file whose first line names the columns.
type csvTable struct {
	file   string
	reader *csv.Reader
	header []string
	close  func() error
}

// openTable opens a file, gzipped or not; - is standard input.
func openTable(file string, s streams) (*csvTable, error) {
	t := &csvTable{file: file, close: func() error { return nil }}
	var source io.Reader = s.in
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		source, t.close = opened, opened.Close
		if strings.HasSuffix(file, ".gz") {
			unzipped, err := gzip.NewReader(opened)
			if err != nil {
				_ = opened.Close()
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			source = unzipped
		}
	}
	t.reader = csv.NewReader(source)
	t.reader.ReuseRecord = true
	header, err := t.reader.Read()
	if err != nil {
		_ = t.close()
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty: want a first line with the columns' names")
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	for _, name := range header {
		t.header = append(t.header, strings.TrimSpace(name))
	}
	return t, nil
}

// column is the index of a name, whatever its case.
func (t *csvTable) column(name string) (int, error) {
	i := slices.IndexFunc(t.header, func(h string) bool { return strings.EqualFold(h, name) })
	if i < 0 {
		return 0, fmt.Errorf("%s: there is no column %q: the first line has %s", t.file, name, strings.Join(t.header, ", "))
	}
	return i, nil
}

// next is the next row; io.EOF ends. The row is valid until the next call.
func (t *csvTable) next() ([]string, error) {
	row, err := t.reader.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", t.file, err)
	}
	return row, err
}

// mistake is about a field of the row that was read last.
func (t *csvTable) mistake(column int, value, want string) error {
	line, at := t.reader.FieldPos(column)
	return fmt.Errorf("%s:%d:%d: %s is %q: want %s", t.file, line, at, t.header[column], value, want)
}

func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
