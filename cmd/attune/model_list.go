package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"attune/pipeline/event"
	"attune/stages/enrich"
)

// modelListCommand shows what was trained.
type modelListCommand struct {
	JSON bool `name:"json" help:"Print one JSON object a model, with its card."`
	target
}

// Run is the command.
func (l *modelListCommand) Run(ctx context.Context, s streams) error {
	all, disconnect, err := l.models(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	if l.JSON {
		for _, e := range all.entries {
			object, err := all.model(ctx, e.Number)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(s.out).Encode(all.report(e.Number, &object)); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "MODEL\tTRAINED\tPART\tLEARNED FROM\tWINDOW\tHOLD-OUT\tNOW\tBEFORE\t")
	mark := map[bool]string{true: "in force"}
	fmt.Fprintf(w, "0\tbuilt in\t%s: %s\t-\t-\t-\t-\t-\t%s\n", partValue, enrich.DefaultModels().CLV.Counts.Name(), mark[all.inForce == 0])
	for _, e := range all.entries {
		object, err := all.model(ctx, e.Number)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%d\t%s", e.Number, e.Added.UTC().Format(time.RFC3339))
		object.Card.list(w, mark[e.Number == all.inForce])
	}
	return w.Flush()
}

// list writes a line for each part of a model, the first of which the model's number and time stand before already.
func (c *modelCard) list(w io.Writer, mark string) {
	line := func(part, model, from, window, measure string, now, before float64) {
		fmt.Fprintf(w, "\t%s%s\t%s\t%s\t%s\t%.4g\t%.4g\t%s", part, model, from, window, measure, now, before, mark)
		if slices.Contains(c.Kept, part) {
			fmt.Fprint(w, "\tkept from before")
		}
		fmt.Fprintln(w)
	}
	instants := func(first, last event.Instant) string {
		return first.Time().Format(time.DateOnly) + " to " + last.Time().Format(time.DateOnly)
	}
	line(partValue, ": "+c.Counts, fmt.Sprintf("%d customers", c.Customers), dateOf(c.First)+" to "+dateOf(c.Last), "value RMSE", c.Holdout.Value.RMSE, c.Before.Holdout.Value.RMSE)
	for i := range c.Propensities {
		p := &c.Propensities[i]
		line(partPropensity+p.Name, "", fmt.Sprintf("%d moments", p.Examples), instants(p.First, p.Last), "log loss", p.Holdout.LogLoss, p.Before.Holdout.LogLoss)
	}
	if p := c.Products; p != nil {
		line(partProducts, "", fmt.Sprintf("%d orders", p.Orders), instants(p.First, p.Last), "hit rate", p.Holdout.HitRate, p.Before.Holdout.HitRate)
	}
}
