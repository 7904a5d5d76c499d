package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
)

// trainCommand makes models of what ClickHouse knows, and puts them in force.
type trainCommand struct {
	Model   string `enum:"bgnbd,mbgnbd,paretonbd" default:"mbgnbd" help:"How often customers buy: bgnbd, mbgnbd or paretonbd (default: mbgnbd)."`
	Holdout string `placeholder:"13w" help:"The last weeks or days, which judge the lifetime value: 13w, 90d (default: a quarter of the orders' time, at most 26w)."`
	Force   bool   `help:"Put all of it in force, also what foretells the hold-out worse than what is in force; without it that part stays, and the command fails."`
	JSON    bool   `name:"json" help:"Print the model's card as JSON."`
	target
}

// trainReport is what --json prints.
type trainReport struct {
	Model   uint64 `json:"model"` // its number: what is in force now, where anything new is
	InForce bool   `json:"in_force"`
	Version uint64 `json:"version"` // of the control record in force
	Before  uint64 `json:"before"`  // the number of the model that was in force; 0: the built-in one
	// Worse are the parts that foretell the hold-out worse than what was in force, which stays: clv, propensity:NAME, recommendations.
	Worse []string `json:"worse,omitempty"`
	// Candidate is the number of the model with these parts as they were trained; 0: that is Model.
	Candidate uint64    `json:"candidate,omitempty"`
	CLV       clv.Model `json:"clv"`
	Card      modelCard `json:"card"`
}

func newReport(number uint64, o *modelObject) *trainReport {
	return &trainReport{Model: number, CLV: o.CLV, Card: o.Card}
}

// Run is the command.
func (t *trainCommand) Run(ctx context.Context, s streams) error {
	holdout := int32(0)
	if t.Holdout != "" {
		var err error
		if holdout, err = parseHorizon(t.Holdout); err != nil {
			return fmt.Errorf("--holdout: %w", err)
		}
	}
	c, err := t.load()
	if err != nil {
		return err
	}
	dsn, err := c.ClickHouse.QueryDSN()
	if err != nil {
		return err
	}
	store, disconnect, err := t.control(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	say := &progress{out: s.err, now: time.Now}
	trainer := &trainer{store: store, archive: &archive{dsn, say}, counts: t.Model, holdout: holdout, force: t.Force, say: say}
	report, err := trainer.train(ctx)
	if err != nil {
		return err
	}
	return t.tell(s, report)
}

// tell prints the report; what is worse is an error, unless it was to be put in force.
func (t *trainCommand) tell(s streams, report *trainReport) (err error) {
	if t.JSON {
		err = printJSON(s.out, report)
	} else {
		err = report.print(s.out)
	}
	if err != nil || len(report.Worse) == 0 || t.Force {
		return err
	}
	candidate := report.Candidate
	if candidate == 0 {
		candidate = report.Model
	}
	fmt.Fprintf(s.err, "Not put in force: %s, worse on the hold-out than what was in force. --force does all the same, or attune model use %d.\n", strings.Join(report.Worse, ", "), candidate)
	return reportedError{errors.New("train: what was trained is worse than what is in force")}
}

func (r *trainReport) print(out io.Writer) error {
	if err := r.printCard(out); err != nil {
		return err
	}
	if r.InForce {
		fmt.Fprintf(out, "\nIn force: customers are scored by it from their next event or day on. Back: attune model use %d\n", r.Before)
	}
	return nil
}

// printCard tells what each part was learned from, and how good it is.
func (r *trainReport) printCard(out io.Writer) error {
	c := &r.Card
	if c.Customers > 0 {
		fmt.Fprintf(out, "Model %d: %s, of %d customers with %d purchase days, %s to %s\n", r.Model, c.Counts, c.Customers, c.PurchaseDays, dateOf(c.First), dateOf(c.Last))
		fmt.Fprintf(out, "Found by %s (counts) and %s (spend); judged on the %d days after %s\n", c.CountsFit.Method, c.SpendFit.Method, c.Last-c.CalibrationEnd, dateOf(c.CalibrationEnd))
		if share := c.CountsFit.OwnRateShare; share > 0 {
			fmt.Fprintf(out, "The plain rate foretold the last orders better: %.0f %% of a forecast are each customer's own rate\n", 100*share)
		}
		fmt.Fprintln(out)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	line := func(name string, now, then float64) {
		change := "-"
		if then > 0 {
			change = fmt.Sprintf("%+.1f %%", 100*(now/then-1))
		}
		fmt.Fprintf(w, "%s\t%.4g\t%.4g\t%s\n", name, now, then, change)
	}
	if c.Customers > 0 {
		fmt.Fprintf(w, "RMSE\tMODEL %d\tMODEL %d, BEFORE\tCHANGE\n", r.Model, c.Before.Model)
		for _, l := range []struct {
			name      string
			now, then fit.Judgement
		}{
			{"value", c.Holdout.Value, c.Before.Holdout.Value},
			{"purchases", c.Holdout.Purchases, c.Before.Holdout.Purchases},
			{"spend", c.Holdout.Spend, c.Before.Holdout.Spend},
		} {
			line(l.name, l.now.RMSE, l.then.RMSE)
		}
	}
	for i := range c.Propensities {
		p := &c.Propensities[i]
		before := fmt.Sprintf("MODEL %d", p.Before.Model)
		if p.Before.Model == 0 {
			before = "THE SAME FOR ALL"
		}
		fmt.Fprintf(w, "\nLOG LOSS\tMODEL %d\t%s, BEFORE\tCHANGE\n", r.Model, before)
		line(p.Name, p.Holdout.LogLoss, p.Before.Holdout.LogLoss)
		fmt.Fprintf(w, "%s, of %d moments (%d did), %s to %s; on the %d from %s on AUC %.3f, ECE %.3f\n", p.Propensity, p.Examples, p.Positives,
			p.First.Time().Format(time.DateOnly), p.Last.Time().Format(time.DateOnly), p.Holdout.Rows, p.HoldoutSince.Time().Format(time.DateOnly), p.Holdout.AUC, p.Holdout.ECE)
	}
	if p := c.Products; p != nil {
		before := fmt.Sprintf("MODEL %d", p.Before.Model)
		if p.Before.Model == 0 {
			before = "WHAT IS POPULAR"
		}
		fmt.Fprintf(w, "\nHIT RATE\tMODEL %d\t%s, BEFORE\tCHANGE\n", r.Model, before)
		line("recommendations", p.Holdout.HitRate, p.Before.Holdout.HitRate)
		line("of new products", p.Holdout.NewHitRate, p.Before.Holdout.NewHitRate)
		fmt.Fprintf(w, "20 of %d products, of %d orders, %s to %s; on the next basket of %d customers from %s on\n", p.Products, p.Orders,
			p.First.Time().Format(time.DateOnly), p.Last.Time().Format(time.DateOnly), p.Holdout.Customers, p.HoldoutSince.Time().Format(time.DateOnly))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(c.Kept) > 0 {
		fmt.Fprintf(out, "\nKept from the model before, since it foretold the hold-out better: %s\n", strings.Join(c.Kept, ", "))
	}
	for _, why := range c.Failed {
		fmt.Fprintf(out, "\nNot trained: %s\n", why)
	}
	return nil
}

func dateOf(day int32) string {
	return time.Unix(0, 0).UTC().AddDate(0, 0, int(day)).Format(time.DateOnly)
}
