package fit

import (
	"fmt"

	"attune/stages/enrich/clv"
)

// Trained is a model that was fitted to a whole log, and what it is worth.
type Trained struct {
	// Model is fitted to all days of the log.
	Model clv.Model
	// Calibrated is fitted without the hold-out: Model was judged by it, and later ones are compared with it, since on days
	// that it has seen a model has an easy life.
	Calibrated clv.Model
	Card       Card
}

// Card tells what a model was made from and how good it is. Days are counted from 1970, UTC.
type Card struct {
	Counts string `json:"counts"` // the model of counts
	// The window: the first and the last day with a purchase, and the last that Calibrated has seen.
	First          int32 `json:"first"`
	CalibrationEnd int32 `json:"calibration_end"`
	Last           int32 `json:"last"`
	PurchaseDays   int   `json:"purchase_days"` // rows: days on which a customer bought something
	Customers      int   `json:"customers"`
	CountsFit      Fit   `json:"counts_fit"` // of Model
	SpendFit       Fit   `json:"spend_fit"`
	// Holdout judges Calibrated on the days after the calibration, by those who had bought before.
	Holdout Holdout `json:"holdout"`
}

// Holdout compares what was foretold with what happened in the hold-out.
type Holdout struct {
	Value     Judgement `json:"value"`     // what each customer bought for
	Purchases Judgement `json:"purchases"` // on how many days
	Spend     Judgement `json:"spend"`     // for how much a day, of those who came back
}

// Worse tells whether these figures are worse than others of the same hold-out: by the root of the mean squared error of
// the value, which is what is foretold of customers. A mean error would favour who foretells nothing of anybody.
func (h Holdout) Worse(than Holdout) bool { return h.Value.RMSE > than.Value.RMSE }

// The hold-out's length by default is a quarter of the log, at most half a year.
const (
	holdoutShare = 4
	mostHoldout  = 26 * 7
	leastDays    = 28
)

// Train fits the model of counts of that name, and Gamma-Gamma. The last days of the log are the hold-out, 0 for the
// default length. Margin is 1 and nothing is discounted.
func Train(log []Purchase, counts string, holdout int32) (Trained, error) {
	if len(log) == 0 {
		return Trained{}, ErrNoCustomer
	}
	c := Card{Counts: counts, First: log[0].Day, Last: log[0].Day, PurchaseDays: len(log)}
	for _, p := range log {
		c.First, c.Last = min(c.First, p.Day), max(c.Last, p.Day)
	}
	span := c.Last - c.First + 1
	if span < leastDays {
		return Trained{}, fmt.Errorf("the purchases span %d days: want at least %d, to hold some of them out", span, leastDays)
	}
	if holdout == 0 {
		holdout = min(span/holdoutShare, mostHoldout)
	}
	if holdout < 1 || holdout > span/2 {
		return Trained{}, fmt.Errorf("a hold-out of %d days: want at least 1 and at most half of the %d days that the purchases span", holdout, span)
	}
	c.CalibrationEnd = c.Last - holdout
	var t Trained
	var err error
	if t.Calibrated, _, _, err = both(log, c.CalibrationEnd, counts); err != nil {
		return Trained{}, fmt.Errorf("without the hold-out of %d days: %w", holdout, err)
	}
	if t.Model, c.CountsFit, c.SpendFit, err = both(log, c.Last, counts); err != nil {
		return Trained{}, err
	}
	c.Customers = c.CountsFit.Customers
	t.Card = c
	t.Card.Holdout = t.Card.Judge(t.Calibrated, log)
	return t, nil
}

// Judge judges any model on the card's hold-out, of the same log.
func (c Card) Judge(m clv.Model, log []Purchase) (h Holdout) {
	horizon := c.Last - c.CalibrationEnd
	weeks := float64(horizon) / 7
	customers := Customers(log, c.CalibrationEnd, horizon)
	m.Margin, m.Discount = 1, 0
	expected, actual := make([]float64, len(customers)), make([]float64, len(customers))
	for i, customer := range customers {
		expected[i], actual[i] = m.Value(customer.Past, weeks), customer.LaterSpend
	}
	h.Value = judge(expected, actual)
	h.Purchases, _ = JudgeCounts(m.Counts, customers, weeks)
	h.Spend, _ = JudgeSpend(m.Spend, customers)
	return h
}

// both fits how often and for how much, to what was bought up to a day.
func both(log []Purchase, last int32, name string) (m clv.Model, counts, spend Fit, err error) {
	often, err := Tested(name, log, last)
	if err != nil {
		return m, counts, spend, err
	}
	much, err := Spend(pasts(Customers(log, last, 0)))
	if err != nil {
		return m, counts, spend, err
	}
	m = clv.Model{Counts: often.Forecast(), Spend: much.Spend, Margin: 1, CountsError: often.Covariance, SpendError: much.Covariance}
	return m, often.Fit, much.Fit, m.Validate()
}
