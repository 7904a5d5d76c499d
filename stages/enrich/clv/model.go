package clv

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Model values a customer. The zero value is not useful; CDNOW is a first prior. A Model is a value: copies are
// independent and safe for concurrent use.
type Model struct {
	Counts   Counts     // how often they buy
	Spend    GammaGamma // and for how much
	Margin   float64    // share of the spend that is earned, 0 to 1
	Discount float64    // continuous rate per week, 0 to 1; 0.0027 is 15 % a year

	// CountsError and SpendError are how far the parameters are known: the covariance of their logarithms (of r, alpha, a
	// and b or their like; of p, q-1 and v). Zero: not known.
	CountsError [4][4]float64
	SpendError  [3][3]float64
}

// CDNOW is the MBG/NBD and Gamma-Gamma model with the published parameters of the CDNOW sample: 2,357 customers who first
// bought compact discs online in early 1997, spend in dollars. Margin is 1 (the value is revenue) and nothing is
// discounted.
func CDNOW() Model {
	return Model{
		Counts: MBGNBD{R: 0.525, Alpha: 6.183, A: 0.891, B: 1.614},
		Spend:  GammaGamma{P: 6.25, Q: 3.74, V: 15.44},
		Margin: 1,
	}
}

// Alive is Counts.Alive.
func (m Model) Alive(p Purchases) float64 { return m.Counts.Alive(p) }

// Value is what the customer is worth over the coming weeks (0 to 1e6), in the currency of MeanSpend: the expected
// purchases, each discounted to now, times Spend, times Margin. It is not rounded.
func (m Model) Value(p Purchases, horizonWeeks float64) float64 {
	bought := m.Counts.Discounted(p, horizonWeeks, m.Discount)
	return float64(float64(bought*m.Spend.Spend(p)) * clamp(m.Margin, 0, 1))
}

// Validate reports every setting outside its range.
func (m Model) Validate() error {
	if m.Counts == nil {
		return errors.New("clv: the model has no counts: want the parameters of bgnbd, mbgnbd or paretonbd; clv.CDNOW() has some")
	}
	return errors.Join(m.Counts.Validate(), m.Spend.Validate(), validate("model", []bound{
		{"margin", m.Margin, 0, 1}, {"discount", m.Discount, 0, 1},
	}))
}

// document is how a model is stored: the parameters under the name of their model.
type document struct {
	BGNBD       *BGNBD         `json:"bgnbd,omitempty"`
	MBGNBD      *MBGNBD        `json:"mbgnbd,omitempty"`
	ParetoNBD   *ParetoNBD     `json:"paretonbd,omitempty"`
	OwnRate     float64        `json:"own_rate_share,omitempty"`
	GammaGamma  GammaGamma     `json:"gammagamma"`
	Margin      float64        `json:"margin"`
	Discount    float64        `json:"discount"`
	CountsError *[4][4]float64 `json:"counts_covariance,omitempty"`
	SpendError  *[3][3]float64 `json:"spend_covariance,omitempty"`
}

// MarshalJSON writes the parameters under the name of their model.
func (m Model) MarshalJSON() ([]byte, error) {
	d := document{GammaGamma: m.Spend, Margin: m.Margin, Discount: m.Discount}
	counts := m.Counts
	if w, ok := counts.(WithOwnRate); ok {
		counts, d.OwnRate = w.Counts, w.Share
	}
	switch c := counts.(type) {
	case BGNBD:
		d.BGNBD = &c
	case MBGNBD:
		d.MBGNBD = &c
	case ParetoNBD:
		d.ParetoNBD = &c
	}
	if m.CountsError != [4][4]float64{} {
		d.CountsError = &m.CountsError
	}
	if m.SpendError != [3][3]float64{} {
		d.SpendError = &m.SpendError
	}
	return json.Marshal(d)
}

// UnmarshalJSON reads what MarshalJSON wrote. It does not validate.
func (m *Model) UnmarshalJSON(data []byte) error {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("clv: %w", err)
	}
	*m = Model{Spend: d.GammaGamma, Margin: d.Margin, Discount: d.Discount}
	named := 0
	if d.BGNBD != nil {
		m.Counts, named = *d.BGNBD, named+1
	}
	if d.MBGNBD != nil {
		m.Counts, named = *d.MBGNBD, named+1
	}
	if d.ParetoNBD != nil {
		m.Counts, named = *d.ParetoNBD, named+1
	}
	if named != 1 {
		return fmt.Errorf("clv: the model has the parameters of %d models of counts: want one of bgnbd, mbgnbd and paretonbd", named)
	}
	m.Counts = drawn(m.Counts, d.OwnRate)
	if d.CountsError != nil {
		m.CountsError = *d.CountsError
	}
	if d.SpendError != nil {
		m.SpendError = *d.SpendError
	}
	return nil
}
