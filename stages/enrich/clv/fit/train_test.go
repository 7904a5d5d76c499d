package fit_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
)

// visits are the log of customers who come at rates of their own, over so many days.
func visits(customers int, days int32) (log []fit.Purchase) {
	r := rand.New(rand.NewPCG(5, 6))
	for c := range customers {
		mean, spend := 1/(r.ExpFloat64()/40+1e-4), 20*math.Exp(r.NormFloat64()/2)
		for at := float64(days) / 2 * r.Float64(); at < float64(days); at += 1 + mean*r.ExpFloat64() {
			log = append(log, fit.Purchase{Customer: fmt.Sprint(c), Day: 20_000 + int32(at), Amount: event.Money(spend*(0.5+r.Float64())*100) * (event.MoneyUnit / 100)})
		}
	}
	return log
}

// The card is about the calibration; the model that scores has seen all. Neither the order of the log nor the customers'
// names change anything.
func TestTrain(t *testing.T) {
	log := visits(400, 200)
	got, err := fit.Train(log, clv.NameMBGNBD, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := got.Card
	if span := c.Last - c.First + 1; c.Last-c.CalibrationEnd != span/4 || c.PurchaseDays != len(log) || c.Customers != 400 {
		t.Errorf("the card is %+v", c)
	}
	early, err := fit.Counts(clv.NameMBGNBD, pasts(fit.Customers(log, c.CalibrationEnd, 0)))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := fit.Counts(clv.NameMBGNBD, pasts(fit.Customers(log, c.Last, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Calibrated.Counts != early.Counts || got.Model.Counts != whole.Counts || early.Counts == whole.Counts {
		t.Errorf("calibrated %+v and whole %+v; fitted apart %+v and %+v", got.Calibrated.Counts, got.Model.Counts, early.Counts, whole.Counts)
	}
	if again := c.Judge(got.Calibrated, log); again != c.Holdout || again.Worse(c.Holdout) {
		t.Errorf("judged again %+v, want %+v", again, c.Holdout)
	}
	rich := got.Calibrated
	rich.Spend.V *= 20
	if foreign := c.Judge(rich, log); !foreign.Worse(c.Holdout) || c.Holdout.Worse(foreign) {
		t.Errorf("a model of a dearer shop has %+v, its own %+v", foreign, c.Holdout)
	}

	renamed := make([]fit.Purchase, 0, len(log))
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(log)) {
		p := log[i]
		p.Customer = p.Customer[len(p.Customer)-1:] + "-" + p.Customer
		renamed = append(renamed, p)
	}
	other, err := fit.Train(renamed, clv.NameMBGNBD, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]clv.Model{got.Model, got.Calibrated}, []clv.Model{other.Model, other.Calibrated}); diff != "" {
		t.Errorf("the same customers by other names:\n%s", diff)
	}
}

func TestTrainOnTooLittle(t *testing.T) {
	long := visits(40, 200)
	for _, c := range []struct {
		log     []fit.Purchase
		holdout int32
		says    string
	}{
		{nil, 0, "nobody bought anything"},
		{visits(40, 20), 0, "want at least 28"},
		{long, 150, "at most half"},
		{long, -1, "at least 1"},
		{[]fit.Purchase{{Customer: "a", Day: 1, Amount: 1}, {Customer: "b", Day: 90, Amount: 1}}, 0, "without the hold-out of 22 days: nobody bought a second time"},
	} {
		if _, err := fit.Train(c.log, clv.NameMBGNBD, c.holdout); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d purchases, a hold-out of %d: %v, want %q", len(c.log), c.holdout, err, c.says)
		}
	}
}
