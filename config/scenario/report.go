package scenario

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

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

// RunAll loads and runs all scenarios of a workspace folder, several at once, by the settings of an installation. The error is a config.Problems when a
// scenario is malformed, or says what can't be run.
func RunAll(fsys fs.FS, ws *config.Workspace, in config.Installation) (Report, error) {
	files, problems, err := list(fsys)
	if err != nil {
		return Report{}, err
	}
	chain, err := ws.Chain(firstVersion, enrich.DefaultModels()) // stages never change: one chain serves all
	if err != nil {
		return Report{}, err
	}
	type outcome struct {
		result   Result
		problems config.Problems
		err      error
	}
	outcomes := make([]outcome, len(files))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(len(files), runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(files); i = int(next.Add(1)) - 1 {
				s, found := open(fsys, files[i], ws, in)
				o := outcome{problems: found}
				if len(found) == 0 {
					o.result.Scenario = &Scenario{Name: s.Name, Path: s.Path} // what it consists of is needed no more
					o.result.Failures, o.err = s.run(newWorld(ws, chain, in))
				}
				outcomes[i] = o
			}
		})
	}
	workers.Wait()
	var r Report
	var errs []error
	for _, o := range outcomes {
		problems, errs, r.Results = append(problems, o.problems...), append(errs, o.err), append(r.Results, o.result)
	}
	if err := problems.Err(); err != nil {
		return Report{}, err
	}
	return r, errors.Join(errs...)
}
