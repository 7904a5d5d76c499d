package clv

// Purchases is one customer's past, as of the moment that is scored.
type Purchases struct {
	Repeats   float64 // x: days with a purchase after the first such day; 0 to 1e9, a fraction is cut off
	LastWeek  float64 // t_x: weeks from the first to the last purchase; 0 to AgeWeeks; 0 without a repeat
	AgeWeeks  float64 // T: weeks from the first purchase to now; 0 to 1e6
	MeanSpend float64 // zbar: mean spend of a repeat day; 0 to 1e15; not read without a repeat
}

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

// Alive is the probability that the customer will ever buy again.
func (m BGNBD) Alive(p Purchases) float64 {
	m, p = m.bounded(), p.bounded()
	return m.alive(p)
}

// Expected is the mean number of days with a purchase in the coming weeks (0 to 1e6).
func (m BGNBD) Expected(p Purchases, weeks float64) float64 {
	m, p, weeks = m.bounded(), p.bounded(), clamp(weeks, 0, maxWeeks)
	return float64(m.alive(p) * m.conditional(p).expected(weeks))
}

// Active is the probability of at least one purchase in the coming weeks (0 to 1e6).
func (m BGNBD) Active(p Purchases, weeks float64) float64 {
	m, p, weeks = m.bounded(), p.bounded(), clamp(weeks, 0, maxWeeks)
	return float64(m.alive(p) * m.conditional(p).any(weeks))
}

// Validate reports every parameter outside its range.
func (m BGNBD) Validate() error { return validateCounts("bgnbd", m) }

func (m BGNBD) alive(p Purchases) float64 {
	if p.Repeats == 0 {
		return 1
	}
	return 1 / (1 + oddsGone(m.A/(m.B+p.Repeats-1), m, p))
}

// conditional is what the model knows of a customer who is alive.
func (m BGNBD) conditional(p Purchases) future {
	return future{k: m.R + p.Repeats, scale: m.Alpha + p.AgeWeeks, a: m.A, b: m.B + p.Repeats}
}

// MBGNBD is BG/NBD with one more chance to leave, at the first purchase: a customer who never came back is less and
// less likely to do so. The parameters have the ranges and the meaning of BGNBD's.
type MBGNBD BGNBD

// Alive is the probability that the customer will ever buy again.
func (m MBGNBD) Alive(p Purchases) float64 {
	m, p = MBGNBD(BGNBD(m).bounded()), p.bounded()
	return m.alive(p)
}

// Expected is the mean number of days with a purchase in the coming weeks (0 to 1e6).
func (m MBGNBD) Expected(p Purchases, weeks float64) float64 {
	m, p, weeks = MBGNBD(BGNBD(m).bounded()), p.bounded(), clamp(weeks, 0, maxWeeks)
	return float64(m.alive(p) * m.conditional(p).expected(weeks))
}

// Active is the probability of at least one purchase in the coming weeks (0 to 1e6).
func (m MBGNBD) Active(p Purchases, weeks float64) float64 {
	m, p, weeks = MBGNBD(BGNBD(m).bounded()), p.bounded(), clamp(weeks, 0, maxWeeks)
	return float64(m.alive(p) * m.conditional(p).any(weeks))
}

// Validate reports every parameter outside its range.
func (m MBGNBD) Validate() error { return validateCounts("mbgnbd", BGNBD(m)) }

func (m MBGNBD) alive(p Purchases) float64 {
	return 1 / (1 + oddsGone(m.A/(m.B+p.Repeats), BGNBD(m), p))
}

func (m MBGNBD) conditional(p Purchases) future {
	return future{k: m.R + p.Repeats, scale: m.Alpha + p.AgeWeeks, a: m.A, b: m.B + p.Repeats + 1}
}

// oddsGone is ratio * ((alpha+T)/(alpha+t_x))^(r+x): the odds that the last purchase was the last ever.
func oddsGone(ratio float64, m BGNBD, p Purchases) float64 {
	silence := log1p((p.AgeWeeks - p.LastWeek) / (m.Alpha + p.LastWeek))
	return exp(log(ratio) + float64((m.R+p.Repeats)*silence))
}
