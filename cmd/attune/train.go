package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/sinks/clickhouse"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
)

// trainCommand makes models of what ClickHouse knows, and puts them in force.
type trainCommand struct {
	Model   string `enum:"bgnbd,mbgnbd,paretonbd" default:"mbgnbd" help:"How often customers buy: bgnbd, mbgnbd or paretonbd (default: mbgnbd)."`
	Holdout string `placeholder:"13w" help:"The last weeks or days, which judge the model: 13w, 90d (default: a quarter of the orders' time, at most 26w)."`
	Force   bool   `help:"Put it in force also where it foretells the hold-out worse than the one in force; without it the command fails then."`
	JSON    bool   `name:"json" help:"Print the model's card as JSON."`
	target
}

// modelObject is what is stored of a training: the models that score, and what tells about them.
type modelObject struct {
	enrich.Models
	Calibrated clv.Model `json:"calibrated"`
	Card       modelCard `json:"card"`
}

// modelCard is a model's card with the one that was in force when it was trained.
type modelCard struct {
	fit.Card
	Before modelBefore `json:"before"`
}

// modelBefore is a model on the hold-out of another, by its parameters of before its own hold-out.
type modelBefore struct {
	Model   uint64      `json:"model"` // its number; 0: the built-in one
	Holdout fit.Holdout `json:"holdout"`
}

// trainReport is what --json prints.
type trainReport struct {
	Model   uint64    `json:"model"`
	InForce bool      `json:"in_force"`
	Version uint64    `json:"version"` // of the control record in force
	CLV     clv.Model `json:"clv"`
	Card    modelCard `json:"card"`
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
	conn, js, err := connect(c.NATS)
	if err != nil {
		return err
	}
	defer conn.Close()
	store, err := openControl(ctx, js)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.err, "Reading the orders ...")
	log, err := orderDays(ctx, dsn)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	fmt.Fprintf(s.err, "Fitting %s and Gamma-Gamma to %d purchase days ...\n", t.Model, len(log))
	trained, err := fit.Train(log, t.Model, holdout)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	before, number, err := modelInForce(ctx, store)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	object := modelObject{
		Models: enrich.Models{CLV: trained.Model}, Calibrated: trained.Calibrated,
		Card: modelCard{trained.Card, modelBefore{number, trained.Card.Judge(before.Calibrated, log)}},
	}
	return t.settle(ctx, s, store, object)
}

// settle stores what was trained, and puts it in force unless it is worse.
func (t *trainCommand) settle(ctx context.Context, s streams, store *control.Store, object modelObject) error {
	data, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	entry, err := store.Add(ctx, pipeline.KindModels, data)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	report := trainReport{Model: entry.Number, CLV: object.CLV, Card: object.Card}
	worse := object.Card.Holdout.Worse(object.Card.Before.Holdout)
	if !worse || t.Force {
		record, _, err := store.Apply(ctx, pipeline.KindModels, data, time.Now())
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		report.InForce, report.Version = true, record.Version
	}
	if t.JSON {
		err = printJSON(s.out, report)
	} else {
		err = report.print(s.out)
	}
	if err == nil && !report.InForce {
		fmt.Fprintf(s.err, "Not put in force: it foretells the hold-out worse than model %d. --force does all the same, or attune model use %d.\n", object.Card.Before.Model, entry.Number)
		return reportedError{errors.New("train: the model is worse than the one in force")}
	}
	return err
}

func (r *trainReport) print(out io.Writer) error {
	c := &r.Card
	fmt.Fprintf(out, "Model %d: %s, of %d customers with %d purchase days, %s to %s\n", r.Model, c.Counts, c.Customers, c.PurchaseDays, dateOf(c.First), dateOf(c.Last))
	fmt.Fprintf(out, "Found by %s (counts) and %s (spend); judged on the %d days after %s\n\n", c.CountsFit.Method, c.SpendFit.Method, c.Last-c.CalibrationEnd, dateOf(c.CalibrationEnd))
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "RMSE\tMODEL %d\tMODEL %d, BEFORE\tCHANGE\n", r.Model, c.Before.Model)
	for _, line := range []struct {
		name      string
		now, then fit.Judgement
	}{
		{"value", c.Holdout.Value, c.Before.Holdout.Value},
		{"purchases", c.Holdout.Purchases, c.Before.Holdout.Purchases},
		{"spend", c.Holdout.Spend, c.Before.Holdout.Spend},
	} {
		change := "-"
		if line.then.RMSE > 0 {
			change = fmt.Sprintf("%+.1f %%", 100*(line.now.RMSE/line.then.RMSE-1))
		}
		fmt.Fprintf(w, "%s\t%.4g\t%.4g\t%s\n", line.name, line.now.RMSE, line.then.RMSE, change)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.InForce {
		fmt.Fprintf(out, "\nIn force: customers are scored by it from their next event or day on. Back: attune model use %d\n", c.Before.Model)
	}
	return nil
}

// orderDays reads on which days, UTC, each customer bought, and for how much: what profiles keep of orders, and what
// scores are made from. A day's refunds are not taken off.
func orderDays(ctx context.Context, dsn string) (log []fit.Purchase, err error) {
	const query = `SELECT if(current_id = '', events.profile_id, current_id) AS customer, toInt32(floor(toUnixTimestamp64Milli(occurred) / 86400000)) AS day, sum(greatest(revenue, 0))
		FROM events LEFT JOIN merged_profiles USING (profile_id) WHERE event = 'Order Completed' AND type = 'track' GROUP BY customer, day ORDER BY customer, day`
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(clickhouse.Query(ctx, dsn, query, "TabSeparated", writer)) }()
	defer func() { _ = reader.Close() }() // ends the query, if it is not at its end
	for lines := bufio.NewScanner(reader); ; {
		if !lines.Scan() {
			return log, lines.Err()
		}
		column := strings.Split(lines.Text(), "\t")
		if len(column) != 3 {
			return nil, fmt.Errorf("the database answers %q", lines.Text())
		}
		day, err := strconv.ParseInt(column[1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the database answers %q: %w", lines.Text(), err)
		}
		amount, err := event.ParseMoney(column[2])
		if err != nil {
			return nil, fmt.Errorf("the database answers %q: %w", lines.Text(), err)
		}
		log = append(log, fit.Purchase{Customer: column[0], Day: int32(day), Amount: amount})
	}
}

// modelInForce is the model in force and its number.
func modelInForce(ctx context.Context, store *control.Store) (object modelObject, number uint64, err error) {
	object = modelObject{Models: enrich.DefaultModels(), Calibrated: enrich.DefaultModels().CLV}
	newest, err := store.Newest(ctx, pipeline.KindModels)
	if err != nil || newest.Version == 0 {
		return object, 0, err
	}
	all, err := store.Catalogue(ctx, pipeline.KindModels)
	if err != nil {
		return object, 0, err
	}
	for _, e := range all {
		if e.Hash == newest.Hash {
			object, err = readModel(ctx, store, e.Hash)
			return object, e.Number, err
		}
	}
	return object, 0, nil // back to the built-in one
}

func readModel(ctx context.Context, store *control.Store, hash string) (object modelObject, err error) {
	data, err := store.Object(ctx, hash)
	if err != nil {
		return object, err
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return object, fmt.Errorf("object %s: %w", hash, err)
	}
	return object, cmp.Or(object.CLV.Validate(), object.Calibrated.Validate())
}

func dateOf(day int32) string {
	return time.Unix(0, 0).UTC().AddDate(0, 0, int(day)).Format(time.DateOnly)
}
