package main

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"attune/config"
	"attune/config/scenario"
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
	Config string `placeholder:"FILE" help:"An attune.yaml: which destinations campaigns may use, which fields are personal or stay behind, how long the log is kept (default: the defaults, and a destination named mail)."`
	Map    bool   `help:"Show which event, trait or segment feeds which segment and campaign."`
}

// Run is the command.
func (c *checkCommand) Run(s streams) error {
	settings, err := workspaceSettings(c.Config)
	if err != nil {
		return err
	}
	ws, err := checkWorkspace(c.Dir, settings.Installation())
	if err != nil {
		return err
	}
	scenarios, err := scenario.Load(os.DirFS(c.Dir), ws, settings.Installation())
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
	return c.noteLookBacks(s, ws, settings.Topology.EventsAge)
}

// noteLookBacks says which rules look back further than the log is kept.
func (c *checkCommand) noteLookBacks(s streams, ws *config.Workspace, age time.Duration) error {
	succession, err := ws.After(config.Empty(), 1)
	if err != nil {
		return err
	}
	lacks, err := ws.Lacks(succession)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, lack := range lacks {
		if since, bounded := lack.Leaf.Reach(event.At(now)); bounded && since.Time().After(now.Add(-age)) {
			continue
		}
		fmt.Fprintf(s.out, "note: %s looks back at %s, and the log is kept for %s (topology.events_age): for customers who are there when it is first "+
			"applied, what happened before that is read from ClickHouse, as far as that has it\n", lack.Reader, lack.Leaf, days(age))
	}
	return nil
}

// testCommand runs scenarios.
type testCommand struct {
	Dir     string `arg:"" default:"." help:"The workspace (default: this folder)."`
	Config  string `placeholder:"FILE" help:"An attune.yaml: which destinations campaigns may use, and how calls are normalized (default: the defaults, and a destination named mail)."`
	Verbose bool   `short:"v" help:"Name every scenario."`
	JUnit   string `name:"junit" placeholder:"FILE" help:"Write the outcome as JUnit's XML too."`
}

// Run is the command.
func (t *testCommand) Run(s streams) error {
	settings, err := workspaceSettings(t.Config)
	if err != nil {
		return err
	}
	ws, err := checkWorkspace(t.Dir, settings.Installation())
	if err != nil {
		return err
	}
	report, err := scenario.RunAll(os.DirFS(t.Dir), ws, settings.Installation())
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

// workspaceSettings are those of an attune.yaml and the environment; without a file there is a destination, as in dev.
func workspaceSettings(file string) (config.Config, error) {
	c, err := config.Load(file, os.Environ())
	if file == "" && len(c.Destinations) == 0 {
		c.Destinations = map[string]config.Destination{devDestination: {}}
	}
	return c, err
}

// checkWorkspace reads a folder and checks all of it, against an installation.
func checkWorkspace(dir string, in config.Installation) (*config.Workspace, error) {
	if _, err := config.OpenWorkspace(dir); err != nil {
		var problems config.Problems
		if !asProblems(err, &problems) { // what is wrong inside is told below, together with everything else
			return nil, err
		}
	}
	return config.CheckWorkspace(os.DirFS(dir), in)
}
