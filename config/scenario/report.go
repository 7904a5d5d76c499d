package scenario

import (
	"fmt"
	"io"
	"io/fs"

	"attune/config"
	"attune/stages/enrich"
)

// Result is how one scenario ended.
type Result struct {
	Scenario *Scenario
	Failures []Failure
}

// Report is how all scenarios ended.
type Report struct{ Results []Result }

// Failed counts the scenarios with a failure.
func (r Report) Failed() int {
	n := 0
	for _, one := range r.Results {
		if len(one.Failures) > 0 {
			n++
		}
	}
	return n
}

// Write prints every failure with its place and diff, and one line of summary; with verbose set, a line for each
// scenario.
func (r Report) Write(w io.Writer, verbose bool) error {
	for _, one := range r.Results {
		if verbose {
			outcome := "ok  "
			if len(one.Failures) > 0 {
				outcome = "FAIL"
			}
			if _, err := fmt.Fprintf(w, "%s %s (%s)\n", outcome, one.Scenario.Name, one.Scenario.Path); err != nil {
				return err
			}
		}
		for _, f := range one.Failures {
			if _, err := fmt.Fprintln(w, f.Error()); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "%d scenarios, %d failed\n", len(r.Results), r.Failed())
	return err
}

// RunAll loads and runs all scenarios of a workspace folder. The error is a config.Problems when a scenario is
// malformed, or says what can't be run.
func RunAll(fsys fs.FS, ws *config.Workspace) (Report, error) {
	scenarios, err := Load(fsys, ws)
	if err != nil {
		return Report{}, err
	}
	var r Report
	chain, err := ws.Chain(firstVersion, enrich.DefaultModels()) // stages never change: one chain serves all
	if err != nil {
		return r, err
	}
	for _, s := range scenarios {
		failures, err := s.run(newWorld(ws, chain))
		if err != nil {
			return r, err
		}
		r.Results = append(r.Results, Result{Scenario: s, Failures: failures})
	}
	return r, nil
}
