package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"attune/config"
	"attune/config/scenario"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/event"
)

// initCommand writes a starting workspace.
type initCommand struct {
	Dir string `arg:"" help:"An empty folder, or one that does not exist yet."`
}

// Run is the command.
func (i *initCommand) Run(s streams) error {
	if err := config.WriteStarter(i.Dir); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Wrote a workspace to %s. Next:\n  attune check %[1]s\n  attune test %[1]s\n  attune dev --workspace %[1]s\n", i.Dir)
	return nil
}

// checkCommand checks a workspace.
type checkCommand struct {
	Dir    string `arg:"" default:"." help:"The workspace (default: this folder)."`
	Config string `placeholder:"FILE" help:"An attune.yaml, whose destinations the campaigns may use (default: one named mail)."`
	Map    bool   `help:"Show which event, trait or segment feeds which segment and campaign."`
}

// Run is the command.
func (c *checkCommand) Run(s streams) error {
	ws, err := checkWorkspace(c.Dir, c.Config)
	if err != nil {
		return err
	}
	scenarios, err := scenario.Load(os.DirFS(c.Dir), ws)
	if err != nil {
		return err
	}
	size, err := ws.RuleBytes()
	if err != nil {
		return err
	}
	if c.Map {
		if err := ws.Map(s.out); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "%s is fine: %d segments, %d campaigns, %d templates, %d scenarios; what the rules look back at takes at most %d bytes of a profile\n",
		c.Dir, len(ws.Segments), len(ws.Campaigns), len(ws.Templates), len(scenarios), size)
	return nil
}

// testCommand runs scenarios.
type testCommand struct {
	Dir     string `arg:"" default:"." help:"The workspace (default: this folder)."`
	Config  string `placeholder:"FILE" help:"An attune.yaml, whose destinations the campaigns may use (default: one named mail)."`
	Verbose bool   `short:"v" help:"Name every scenario."`
	JUnit   string `name:"junit" placeholder:"FILE" help:"Write the outcome as JUnit's XML too."`
}

// Run is the command.
func (t *testCommand) Run(s streams) error {
	ws, err := checkWorkspace(t.Dir, t.Config)
	if err != nil {
		return err
	}
	report, err := scenario.RunAll(os.DirFS(t.Dir), ws)
	if err != nil {
		return err
	}
	if err := report.Write(s.out, t.Verbose); err != nil {
		return err
	}
	if t.JUnit != "" {
		var file bytes.Buffer
		if err := report.WriteJUnit(&file); err != nil {
			return err
		}
		if err := os.WriteFile(t.JUnit, file.Bytes(), 0o644); err != nil {
			return fmt.Errorf("junit report: %w", err)
		}
	}
	if n := report.Failed(); n > 0 {
		return reportedError{fmt.Errorf("%d scenarios failed", n)}
	}
	return nil
}

// applyCommand brings a workspace into force.
type applyCommand struct {
	Dir string `arg:"" default:"." help:"The workspace (default: this folder)."`
	target
}

// Run is the command.
func (a *applyCommand) Run(ctx context.Context, s streams) error {
	ws, err := checkWorkspace(a.Dir, a.Config)
	if err != nil {
		return err
	}
	conn, js, err := a.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	store, err := openControl(ctx, js)
	if err != nil {
		return err
	}
	record, changed, err := applyWorkspace(ctx, store, ws)
	if err != nil {
		return err
	}
	if !changed {
		fmt.Fprintf(s.out, "nothing changed: version %d is in force\n", record.Version)
		return nil
	}
	fmt.Fprintf(s.out, "applied as version %d (%.12s)\n", record.Version, record.Hash)
	for _, campaign := range ws.Campaigns {
		if campaign.Wait > 0 {
			fmt.Fprintf(s.out, "  %s waits %s, as written\n", campaign.ID, campaign.Wait)
		}
	}
	return nil
}

// checkWorkspace reads a folder and checks all of it, against the destinations of a configuration.
func checkWorkspace(dir, file string) (*config.Workspace, error) {
	destinations := []string{devDestination}
	if file != "" {
		c, err := config.Load(file, os.Environ())
		if err != nil {
			return nil, err
		}
		destinations = c.DestinationNames()
	}
	if _, err := config.OpenWorkspace(dir); err != nil {
		var problems config.Problems
		if !asProblems(err, &problems) { // what is wrong inside is told below, together with everything else
			return nil, err
		}
	}
	return config.CheckWorkspace(os.DirFS(dir), destinations)
}

// applyWorkspace stores the definitions and appends the control record that names them.
func applyWorkspace(ctx context.Context, store *control.Store, ws *config.Workspace) (event.ControlRecord, bool, error) {
	object, _, err := ws.Encode()
	if err != nil {
		return event.ControlRecord{}, false, err
	}
	return store.Apply(ctx, pipeline.KindDefinitions, object, time.Now())
}
