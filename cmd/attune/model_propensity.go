package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"attune/stages/enrich/propensity"
)

// modelPropensityCommand judges the propensity model on a file.
type modelPropensityCommand struct {
	File  string `arg:"" help:"CSV with a line for each row; - is standard input."`
	Label string `required:"" placeholder:"COLUMN" help:"The column to foretell: true or false, yes or no, 1 or 0. All others are used."`
	Folds int    `default:"5" help:"Into how many groups the rows are dealt; each is scored by a model of the others (default: 5)."`
}

// propensityReport is what the command prints.
type propensityReport struct {
	Label string `json:"label"`
	Folds int    `json:"folds"`
	propensity.Judgement
	// Crosses are the pairs of columns that a model of all rows looks at together.
	Crosses [][2]string `json:"crosses"`
}

// Run is the command.
func (p *modelPropensityCommand) Run(s streams) error {
	names, examples, err := p.read(s)
	if err != nil {
		return err
	}
	if p.Folds < 2 || p.Folds > len(examples) {
		return fmt.Errorf("--folds %d: want 2 to the number of rows, %d", p.Folds, len(examples))
	}
	report := propensityReport{Label: p.Label, Folds: p.Folds, Crosses: [][2]string{}}
	if report.Judgement, err = propensity.CrossValidate(names, examples, p.Folds); err != nil {
		return fmt.Errorf("%s: %w", p.File, err)
	}
	whole, err := propensity.Train(names, examples)
	if err != nil {
		return fmt.Errorf("%s: %w", p.File, err)
	}
	for _, x := range whole.Crosses {
		report.Crosses = append(report.Crosses, [2]string{names[x[0]], names[x[1]]})
	}
	return printJSON(s.out, report)
}

func (p *modelPropensityCommand) read(s streams) (names []string, examples []propensity.Example, err error) {
	t, err := openTable(p.File, s)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = t.close() }()
	label, err := t.column(p.Label)
	if err != nil {
		return nil, nil, err
	}
	for i, name := range t.header {
		if i != label {
			names = append(names, name)
		}
	}
	for {
		row, err := t.next()
		if errors.Is(err, io.EOF) {
			return names, examples, nil
		}
		if err != nil {
			return nil, nil, err
		}
		e := propensity.Example{Row: make(propensity.Row, 0, len(names))}
		switch strings.ToLower(strings.TrimSpace(row[label])) {
		case "true", "yes", "t", "y", "1":
			e.Label = true
		case "false", "no", "f", "n", "0":
		default:
			return nil, nil, t.mistake(label, row[label], "true or false, yes or no, 1 or 0")
		}
		for i, field := range row {
			if i != label {
				e.Row = append(e.Row, propensity.Parse(field))
			}
		}
		examples = append(examples, e)
	}
}
