package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/pipeline/lease"
	"attune/pipeline/rollout"
	"attune/pipeline/topology"
)

// applyCommand brings a workspace into force.
type applyCommand struct {
	Dir  string `arg:"" default:"." help:"The workspace (default: this folder)."`
	Wait bool   `help:"Wait until it is in force for all customers, and show how far that is."`
	Fire bool   `help:"Let campaigns on segment_entered and segment_exited fire for customers whom the change itself moves."`
	target
}

// Run is the command.
func (a *applyCommand) Run(ctx context.Context, s streams) error {
	settings, err := workspaceSettings(a.Config)
	if err != nil {
		return err
	}
	ws, err := checkWorkspace(a.Dir, settings.Installation())
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
	done, err := applyWorkspace(ctx, js, store, ws, a.Fire)
	if err != nil {
		return err
	}
	if err := done.print(s.out, ws); err != nil {
		return err
	}
	if done.staged && a.Wait {
		return awaitRollout(ctx, s.out, js, done.record.Version)
	}
	return nil
}

// application is what became of an apply.
type application struct {
	record  event.ControlRecord
	changed bool
	staged  bool // customers are being prepared for it
	lacks   []lookBack
}

// lookBack is what a rule needs of the past, and from when on the log has it.
type lookBack struct {
	config.Lack
	begins time.Time // zero: the log has all of it
	// exact is when all that counts lies in the log; zero: never, since the window doesn't move.
	exact time.Time
}

// applyWorkspace stores the definitions and appends the control record that names them. Where customers have to be
// judged anew they are staged; a worker does the rest.
func applyWorkspace(ctx context.Context, js jetstream.JetStream, store *control.Store, ws *config.Workspace, fire bool) (a application, err error) {
	object, hash, err := ws.Encode()
	if err != nil {
		return a, err
	}
	newest, err := store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil {
		return a, err
	}
	staged, err := store.Newest(ctx, pipeline.KindStaged)
	if err != nil {
		return a, err
	}
	log, err := js.Stream(ctx, topology.Events)
	if err != nil {
		return a, fmt.Errorf("look up stream %s: %w", topology.Events, err)
	}
	inForce := config.Empty()
	if newest.Version > 0 {
		data, err := store.Object(ctx, newest.Hash)
		if err != nil {
			return a, err
		}
		if inForce, err = config.DecodeWorkspace(data); err != nil {
			return a, err
		}
	}
	now := time.Now()
	progress, err := rollout.Look(ctx, js)
	if err != nil {
		return a, err
	}
	// Until a rollout has reached everyone, what follows it has to be staged too: then each customer has a step in between.
	pending := staged.Version > newest.Staged || progress.Version == staged.Version && progress.Version > 0 && progress.Phase != rollout.Done
	anyone, err := anyCustomer(ctx, js)
	if err != nil {
		return a, err
	}
	if !anyone || !pending && (newest.Hash == hash || newest.Version > 0 && ws.SameRules(inForce)) {
		if err := tellNewSegments(ctx, store, inForce, ws); err != nil {
			return a, err
		}
		a.record, a.changed, err = store.Apply(ctx, pipeline.KindDefinitions, object, now, control.Prepared(0, false, now))
		return a, err
	}
	succession, err := ws.After(inForce, staged.Version+1)
	if err != nil {
		return a, err
	}
	lacks, err := ws.Lacks(succession)
	if err != nil {
		return a, err
	}
	begins := beginning(log, now)
	for _, lack := range lacks {
		one := lookBack{Lack: lack}
		if since, bounded := lack.Leaf.Reach(event.At(now)); !begins.IsZero() && (!bounded || since.Time().Before(begins)) {
			one.begins = begins
			if bounded && lack.Leaf.Moves() {
				one.exact = begins.Add(now.Sub(since.Time()))
			}
		}
		a.lacks = append(a.lacks, one)
	}
	a.staged = true
	a.record, a.changed, err = store.Apply(ctx, pipeline.KindStaged, object, now, control.Staging(fire))
	return a, err
}

// anyCustomer tells whether there are customers who would have to be judged.
func anyCustomer(ctx context.Context, js jetstream.JetStream) (bool, error) {
	for _, bucket := range []string{topology.Identities, topology.Profiles} {
		stream, err := js.Stream(ctx, "KV_"+bucket)
		if err != nil {
			return false, fmt.Errorf("look up bucket %s: %w", bucket, err)
		}
		if stream.CachedInfo().State.LastSeq > 0 {
			return true, nil
		}
	}
	return false, nil
}

// beginning is when the log's oldest record was stored, or now where it has none, if there were older ones; else zero.
func beginning(log jetstream.Stream, now time.Time) time.Time {
	switch state := log.CachedInfo().State; {
	case state.FirstSeq <= 1:
		return time.Time{}
	case state.Msgs == 0:
		return now
	default:
		return state.FirstTime
	}
}

func (a *application) print(out io.Writer, ws *config.Workspace) error {
	switch {
	case a.staged:
		fmt.Fprintf(out, "staged as version %d (%.12s): every customer is judged by it, then it comes into force; attune apply --wait and attune status show how far it is\n",
			a.record.Version, a.record.Hash)
		for _, lack := range a.lacks {
			if lack.begins.IsZero() {
				fmt.Fprintf(out, "  %s looks back at %s, which is read from the log\n", lack.Reader, lack.Leaf)
			} else {
				exact := "what that lacks counts as if it had not happened"
				if !lack.exact.IsZero() {
					exact += " until " + lack.exact.UTC().Format(time.RFC3339)
				}
				fmt.Fprintf(out, "! %s looks back at %s, and the log begins at %s: what happened before is read from ClickHouse; %s\n",
					lack.Reader, lack.Leaf, lack.begins.UTC().Format(time.RFC3339), exact)
			}
		}
	case !a.changed:
		fmt.Fprintf(out, "nothing changed: version %d is in force\n", a.record.Version)
		return nil
	default:
		fmt.Fprintf(out, "applied as version %d (%.12s)\n", a.record.Version, a.record.Hash)
	}
	for _, campaign := range ws.Campaigns {
		if campaign.Wait > 0 {
			fmt.Fprintf(out, "  %s waits %s, as written\n", campaign.ID, campaign.Wait)
		}
	}
	return nil
}

// awaitEvery is how often the progress is asked for.
const awaitEvery = 200 * time.Millisecond

// awaitRollout shows how far the rollout of a staged version is until it is done.
func awaitRollout(ctx context.Context, out io.Writer, js jetstream.JetStream, version uint64) error {
	shown, asked := "", time.Time{}
	for {
		p, err := rollout.Look(ctx, js)
		if err != nil {
			return err
		}
		switch line := progressLine(p); {
		case p.Version > version:
			return fmt.Errorf("version %d was staged meanwhile and takes the place of version %d", p.Version, version)
		case p.Version == version && p.Phase == rollout.Done:
			fmt.Fprintf(out, "in force: %d customers were judged by it, and %d of them moved\n", p.Prepared, p.Told)
			return nil
		case p.Version == version && line != shown:
			shown = line
			fmt.Fprintln(out, line)
		case p.Version < version && time.Since(asked) > lease.TTL:
			if asked = time.Now(); shown == "" {
				shown = "waiting for a worker that runs the rollout"
				fmt.Fprintln(out, shown)
			}
		}
		select {
		case <-time.After(awaitEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// progressLine says how far a rollout is, and what it waits for.
func progressLine(p rollout.Progress) string {
	if p.Failure == "" {
		return phaseLine(p)
	}
	if p.Older {
		return "waiting for ClickHouse, which has what the log has lost to age: " + p.Failure
	}
	return phaseLine(p) + "; it stopped and is tried again: " + p.Failure
}

func phaseLine(p rollout.Progress) string {
	switch p.Phase {
	case rollout.Reading:
		if p.Older {
			return fmt.Sprintf("reading from ClickHouse what the log has lost to age: position %d of %d", p.Done, p.Total)
		}
		return fmt.Sprintf("reading the log: position %d of %d", p.Done, p.Total)
	case rollout.Preparing:
		return fmt.Sprintf("judging customers: %d of %d", min(p.Done, p.Total), p.Total)
	case rollout.Settling:
		return fmt.Sprintf("in force; customers who moved are told: %d of %d looked at", min(p.Done, p.Total), p.Total)
	}
	return string(p.Phase)
}

// days is an age in days where it is some, for people.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}
