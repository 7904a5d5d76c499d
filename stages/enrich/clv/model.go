package clv

// GammaGamma are the parameters of the model of spend: a purchase's value is gamma distributed with shape P and a rate
// that differs between customers, gamma distributed with shape Q and rate V (in the currency). P and V lie between
// 1e-4 and 1e7, Q between 1.0001 and 1e7: with less there is no mean.
type GammaGamma struct {
	P float64 `json:"p" yaml:"p"`
	Q float64 `json:"q" yaml:"q"`
	V float64 `json:"v" yaml:"v"`
}

// Spend is the mean value of one of the customer's purchases: their own mean, drawn to that of all customers, and
// less so the more purchases there are. It assumes that spend and frequency are independent.
func (m GammaGamma) Spend(p Purchases) float64 {
	m, p = m.bounded(), p.bounded()
	if p.Repeats == 0 {
		return float64(m.P*m.V) / (m.Q - 1)
	}
	return float64(m.P*(m.V+float64(p.Repeats*p.MeanSpend))) / (float64(m.P*p.Repeats) + m.Q - 1)
}

// Validate reports every parameter outside its range.
func (m GammaGamma) Validate() error {
	return validate("gammagamma", []bound{
		{"p", m.P, minShape, maxShape}, {"q", m.Q, minQ, maxShape}, {"v", m.V, minShape, maxShape},
	})
}

// Model values a customer. The zero value is not useful; CDNOW is a first prior. A Model is a value: copies are
// independent and safe for concurrent use.
type Model struct {
	BGNBD      BGNBD      `json:"bgnbd" yaml:"bgnbd"`
	GammaGamma GammaGamma `json:"gammagamma" yaml:"gammagamma"`
	Margin     float64    `json:"margin" yaml:"margin"`     // share of the spend that is earned, 0 to 1
	Discount   float64    `json:"discount" yaml:"discount"` // continuous rate per week, 0 to 1; 0.0027 is 15 % a year
}

// CDNOW is the model with the published parameters of the CDNOW sample: 2,357 customers who first bought compact
// discs online in early 1997, spend in dollars. Margin is 1 (the value is revenue) and nothing is discounted.
func CDNOW() Model {
	return Model{
		BGNBD:      BGNBD{R: 0.243, Alpha: 4.414, A: 0.793, B: 2.426},
		GammaGamma: GammaGamma{P: 6.25, Q: 3.74, V: 15.44},
		Margin:     1,
	}
}

// CDNOWModified is the MBG/NBD model with the published parameters of the same sample.
func CDNOWModified() MBGNBD { return MBGNBD{R: 0.525, Alpha: 6.183, A: 0.891, B: 1.614} }

// Alive is BGNBD.Alive.
func (m Model) Alive(p Purchases) float64 { return m.BGNBD.Alive(p) }

// Expected is BGNBD.Expected.
func (m Model) Expected(p Purchases, weeks float64) float64 { return m.BGNBD.Expected(p, weeks) }

// Value is what the customer is worth over the coming weeks (0 to 1e6), in the currency of MeanSpend: the expected
// purchases, each discounted to now, times Spend, times Margin. It is not rounded.
func (m Model) Value(p Purchases, horizonWeeks float64) float64 {
	counts, p, t := m.BGNBD.bounded(), p.bounded(), clamp(horizonWeeks, 0, maxWeeks)
	f := counts.conditional(p)
	d := clamp(m.Discount, 0, 1)
	var bought float64
	if d == 0 {
		bought = f.expected(t)
	} else {
		bought = f.discounted(t, d)
	}
	bought = float64(bought * counts.alive(p))
	return float64(float64(bought*m.GammaGamma.Spend(p)) * clamp(m.Margin, 0, 1))
}

// Validate reports every setting outside its range.
func (m Model) Validate() error {
	return join(m.BGNBD.Validate(), m.GammaGamma.Validate(), validate("model", []bound{
		{"margin", m.Margin, 0, 1}, {"discount", m.Discount, 0, 1},
	}))
}
