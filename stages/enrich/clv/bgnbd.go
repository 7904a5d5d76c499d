package clv

import "attune/pipeline/portable"

// BGNBD are the parameters of the BG/NBD model: purchases at a customer's own rate, gamma distributed with shape R and
// rate Alpha (weeks), and after each purchase a chance to leave for good, beta distributed with A and B.
// Each lies between 1e-4 and 1e5.
//
// The model can't see a customer leave before a first repeat: Alive is 1 then, however long ago the purchase was.
// Judge churn by MBGNBD's Alive or by Active.
type BGNBD struct {
	R     float64 `json:"r" yaml:"r"`
	Alpha float64 `json:"alpha" yaml:"alpha"`
	A     float64 `json:"a" yaml:"a"`
	B     float64 `json:"b" yaml:"b"`
}

// MBGNBD is BG/NBD with one more chance to leave, at the first purchase: a customer who never came back is less and
// less likely to do so. The parameters have the ranges and the meaning of BGNBD's.
type MBGNBD BGNBD

var (
	_ Counts = BGNBD{}
	_ Counts = MBGNBD{}
)

// Name is bgnbd.
func (m BGNBD) Name() string { return NameBGNBD }

// Alive is the probability that the customer will ever buy again.
func (m BGNBD) Alive(p Purchases) float64 { return m.bounded().alive(p.bounded()) }

// Expected is the mean number of days with a purchase in the coming weeks (0 to 1e6).
func (m BGNBD) Expected(p Purchases, weeks float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).expected(clamp(weeks, 0, maxWeeks)))
}

// Active is the probability of at least one purchase in the coming weeks (0 to 1e6).
func (m BGNBD) Active(p Purchases, weeks float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).any(clamp(weeks, 0, maxWeeks)))
}

// Discounted is the mean over the purchases of the coming weeks (0 to 1e6) of e^(-rate t), summed; rate is 0 to 1.
func (m BGNBD) Discounted(p Purchases, weeks, rate float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).discounted(clamp(weeks, 0, maxWeeks), clamp(rate, 0, 1)))
}

// Validate reports every parameter outside its range.
func (m BGNBD) Validate() error { return m.validate(NameBGNBD) }

// Parameters are r, alpha, a and b.
func (m BGNBD) Parameters() [4]float64 { return [4]float64{m.R, m.Alpha, m.A, m.B} }

func (m BGNBD) pairs(p Purchases, weeks float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).pairs(clamp(weeks, 0, maxWeeks)))
}

func (m BGNBD) alive(p Purchases) float64 {
	if p.Repeats == 0 {
		return 1
	}
	return 1 / (1 + m.oddsGone(m.B+p.Repeats-1, p))
}

// future is what the model knows of a customer who is alive.
func (m BGNBD) future(p Purchases) future {
	return future{k: m.R + p.Repeats, scale: m.Alpha + p.AgeWeeks, a: m.A, b: m.B + p.Repeats}
}

// oddsGone is a/stayed * ((alpha+T)/(alpha+t_x))^(r+x): the odds that the last purchase was the last ever.
func (m BGNBD) oddsGone(stayed float64, p Purchases) float64 {
	silence := portable.Log1p((p.AgeWeeks - p.LastWeek) / (m.Alpha + p.LastWeek))
	return m.A / stayed * portable.Exp(float64((m.R+p.Repeats)*silence))
}

func (m BGNBD) bounded() BGNBD {
	return BGNBD{
		R:     clamp(m.R, minParameter, maxParameter),
		Alpha: clamp(m.Alpha, minParameter, maxParameter),
		A:     clamp(m.A, minParameter, maxParameter),
		B:     clamp(m.B, minParameter, maxParameter),
	}
}

func (m BGNBD) validate(name string) error {
	return validate(name, []bound{
		{"r", m.R, minParameter, maxParameter}, {"alpha", m.Alpha, minParameter, maxParameter},
		{"a", m.A, minParameter, maxParameter}, {"b", m.B, minParameter, maxParameter},
	})
}

// Name is mbgnbd.
func (m MBGNBD) Name() string { return NameMBGNBD }

// Alive is the probability that the customer will ever buy again.
func (m MBGNBD) Alive(p Purchases) float64 { return m.bounded().alive(p.bounded()) }

// Expected is the mean number of days with a purchase in the coming weeks (0 to 1e6).
func (m MBGNBD) Expected(p Purchases, weeks float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).expected(clamp(weeks, 0, maxWeeks)))
}

// Active is the probability of at least one purchase in the coming weeks (0 to 1e6).
func (m MBGNBD) Active(p Purchases, weeks float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).any(clamp(weeks, 0, maxWeeks)))
}

// Discounted is the mean over the purchases of the coming weeks (0 to 1e6) of e^(-rate t), summed; rate is 0 to 1.
func (m MBGNBD) Discounted(p Purchases, weeks, rate float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).discounted(clamp(weeks, 0, maxWeeks), clamp(rate, 0, 1)))
}

// Validate reports every parameter outside its range.
func (m MBGNBD) Validate() error { return BGNBD(m).validate(NameMBGNBD) }

// Parameters are r, alpha, a and b.
func (m MBGNBD) Parameters() [4]float64 { return BGNBD(m).Parameters() }

func (m MBGNBD) pairs(p Purchases, weeks float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).pairs(clamp(weeks, 0, maxWeeks)))
}

func (m MBGNBD) bounded() MBGNBD { return MBGNBD(BGNBD(m).bounded()) }

func (m MBGNBD) alive(p Purchases) float64 { return 1 / (1 + BGNBD(m).oddsGone(m.B+p.Repeats, p)) }

// future differs from BG/NBD's by the chance to leave that the customer has passed at the first purchase.
func (m MBGNBD) future(p Purchases) future {
	return future{k: m.R + p.Repeats, scale: m.Alpha + p.AgeWeeks, a: m.A, b: m.B + p.Repeats + 1}
}
