package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
)

// modelFitCommand fits one model to a log of purchases.
type modelFitCommand struct {
	File           string `arg:"" help:"CSV with the columns customer, date and amount, one purchase a line; - is standard input."`
	Model          string `required:"" enum:"bgnbd,mbgnbd,paretonbd,gammagamma" help:"bgnbd, mbgnbd, paretonbd or gammagamma."`
	CalibrationEnd string `placeholder:"DATE" help:"The last day that is fitted, like 2026-03-31 (default: the last of the file, less the horizon)."`
	Horizon        string `placeholder:"39w" help:"How long after it is foretold and compared, in weeks or days: 39w, 90d (default: to the end of the file)."`
}

// fitReport is what the command prints.
type fitReport struct {
	Model          string `json:"model"`
	Parameters     any    `json:"parameters"`
	CalibrationEnd string `json:"calibration_end"`
	Purchases      int    `json:"purchases"` // lines, until the end of the calibration
	Refunds        int    `json:"refunds"`   // lines with an amount below zero, which are left out
	fit.Fit
	// LogStdErrors are the standard errors of the parameters' logarithms, in the same order; of q-1 for Gamma-Gamma's q.
	LogStdErrors []float64   `json:"log_std_errors"`
	Holdout      *fitHoldout `json:"holdout,omitempty"`
}

// fitHoldout compares what was foretold with what came. What foretells are the parameters above, drawn to each customer's
// own rate where own_rate_share says so.
type fitHoldout struct {
	Weeks float64 `json:"weeks"`
	fit.Judgement
	Plain fit.Judgement `json:"plain"` // for comparison: the rate so far, x/T, or the mean spend so far
}

const day = 24 * time.Hour

// Run is the command.
func (f *modelFitCommand) Run(s streams) error {
	log, refunds, err := readPurchases(f.File, s, f.Model == "gammagamma")
	if err != nil {
		return err
	}
	end, horizon, err := f.split(log)
	if err != nil {
		return err
	}
	customers := fit.Customers(log, end, horizon)
	report := fitReport{Model: f.Model, CalibrationEnd: time.Unix(0, 0).UTC().AddDate(0, 0, int(end)).Format(time.DateOnly), Refunds: refunds}
	for _, p := range log {
		if p.Day <= end {
			report.Purchases++
		}
	}
	weeks := float64(horizon) / 7
	holdout := &fitHoldout{Weeks: weeks}
	if f.Model == "gammagamma" {
		pasts := make([]clv.Purchases, len(customers))
		for i, c := range customers {
			pasts[i] = c.Past
		}
		fitted, err := fit.Spend(pasts)
		if err != nil {
			return fmt.Errorf("%s: %w", f.File, err)
		}
		report.Fit, report.Parameters = fitted.Fit, fitted.Spend
		for i := range fitted.Covariance {
			report.LogStdErrors = append(report.LogStdErrors, math.Sqrt(fitted.Covariance[i][i]))
		}
		holdout.Judgement, holdout.Plain = fit.JudgeSpend(fitted.Spend, customers)
	} else {
		fitted, err := fit.Tested(f.Model, log, end)
		if err != nil {
			return fmt.Errorf("%s: %w", f.File, err)
		}
		report.Fit, report.Parameters = fitted.Fit, fitted.Counts
		for i := range fitted.Covariance {
			report.LogStdErrors = append(report.LogStdErrors, math.Sqrt(fitted.Covariance[i][i]))
		}
		holdout.Judgement, holdout.Plain = fit.JudgeCounts(fitted.Forecast(), customers, weeks)
	}
	if horizon > 0 {
		report.Holdout = holdout
	}
	return printJSON(s.out, report)
}

// split is the last day of the calibration and how many days after it are compared.
func (f *modelFitCommand) split(log []fit.Purchase) (end, horizon int32, err error) {
	if len(log) == 0 {
		return 0, 0, fmt.Errorf("%s: there is no purchase in it", f.File)
	}
	last := log[0].Day
	for _, p := range log {
		last = max(last, p.Day)
	}
	if f.Horizon != "" {
		if horizon, err = parseHorizon(f.Horizon); err != nil {
			return 0, 0, err
		}
	}
	if f.CalibrationEnd == "" {
		return last - horizon, horizon, nil
	}
	end, ok := parseDay(f.CalibrationEnd)
	if !ok {
		return 0, 0, fmt.Errorf("--calibration-end %s: want a date like 2026-03-31", f.CalibrationEnd)
	}
	if f.Horizon == "" {
		horizon = max(last-end, 0)
	}
	return end, horizon, nil
}

// parseHorizon reads 39w or 90d, as days.
func parseHorizon(s string) (int32, error) {
	number, unit := strings.TrimRight(s, "wd"), int32(1)
	if strings.HasSuffix(s, "w") {
		unit = 7
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || len(s) != len(number)+1 || n < 1 || n > 5200 {
		return 0, fmt.Errorf("--horizon %s: want 1 to 5200 weeks or days, like 39w or 90d", s)
	}
	return int32(n) * unit, nil
}

// readPurchases reads the lines that are purchases, and counts those that are refunds.
func readPurchases(file string, s streams, amounts bool) (log []fit.Purchase, refunds int, err error) {
	t, err := openTable(file, s)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = t.close() }()
	customer, err := t.column("customer")
	if err != nil {
		return nil, 0, err
	}
	date, err := t.column("date")
	if err != nil {
		return nil, 0, err
	}
	amount, err := t.column("amount")
	if err != nil {
		if amounts {
			return nil, 0, err
		}
		amount = -1 // how often someone buys can be told without
	}
	for {
		row, err := t.next()
		if errors.Is(err, io.EOF) {
			return log, refunds, nil
		}
		if err != nil {
			return nil, 0, err
		}
		var p fit.Purchase
		if p.Customer = strings.Clone(strings.TrimSpace(row[customer])); p.Customer == "" {
			return nil, 0, t.mistake(customer, row[customer], "who bought: any text that is the same for all purchases of one customer")
		}
		var ok bool
		if p.Day, ok = parseDay(row[date]); !ok {
			return nil, 0, t.mistake(date, row[date], "a date like 2026-03-31, 20260331, 2026-03-31 15:04:05 or 2026-03-31T15:04:05Z")
		}
		if amount >= 0 {
			if p.Amount, err = event.ParseMoney(strings.TrimSpace(row[amount])); err != nil {
				return nil, 0, t.mistake(amount, row[amount], "a number like 12.50")
			}
		}
		if p.Amount < 0 {
			refunds++
			continue
		}
		log = append(log, p)
	}
}

// parseDay is the day of a date, counted from 1970; a time of the day is left out as it is written.
func parseDay(s string) (int32, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.DateOnly, "20060102", time.DateTime, "2006-01-02T15:04:05", time.RFC3339, "2006-01-02 15:04", "2006/01/02", "2006/01/02 15:04:05"} {
		if at, err := time.Parse(layout, s); err == nil {
			midnight := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
			return int32(midnight.Unix() / int64(day/time.Second)), true
		}
	}
	return 0, false
}
