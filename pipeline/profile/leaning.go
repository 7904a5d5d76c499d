package profile

import (
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/pipeline/event"
)

// Dimension is something that customers lean to one kind or another of.
type Dimension uint8

// The dimensions. Numbers are stored: none is ever given to another.
const (
	Category Dimension = iota // of the products looked at, put into the cart and bought
	Brand                     // of the same
	Price                     // their price, in bands such as 20-50 main units
	Discount                  // of the orders: Discounted or FullPrice
	Hour                      // of the day, UTC, of all that the customer does: 00 to 23
	dimensions
)

// The two names in the dimension Discount.
const (
	Discounted = "discounted"
	FullPrice  = "full price"
)

// Dimensions are all of them, in their order.
func Dimensions() []Dimension { return []Dimension{Category, Brand, Price, Discount, Hour} }

// String is the dimension's word in rules, answers and SQL.
func (d Dimension) String() string {
	return [dimensions]string{"category", "brand", "price", "discount", "hour"}[d]
}

// ParseDimension finds a dimension by its word.
func ParseDimension(word string) (Dimension, bool) {
	for _, d := range Dimensions() {
		if d.String() == word {
			return d, true
		}
	}
	return 0, false
}

// Bounds of one dimension.
const (
	// MaxLeanings is how many names one dimension keeps. Of more it keeps those whose FNV-1a hash is the lowest: a choice
	// that no order of arrival and no alphabet bends. What the others weigh counts in Rest, so shares stay true.
	MaxLeanings = 64
	// MaxLeaningName is the longest name that is kept, in bytes; a longer one counts in Rest.
	MaxLeaningName = 128
)

// Leaning is how a customer leans in one dimension: weights that decay by half in a [HalfLife].
type Leaning struct {
	Weights []Weight // by name
	// Rest is what names weigh that are not kept.
	Rest Decayed
}

// Weight is one name's.
type Weight struct {
	Name string
	// Sum is of all that happened, each as its time weighs: see [Decay]. Its ratio to another sum is what has a
	// meaning.
	Sum Decayed
}

// Add takes one more thing into account.
func (l *Leaning) Add(name string, weight Decayed) {
	if len(name) > MaxLeaningName {
		l.Rest += weight
		return
	}
	i, found := l.find(name)
	if found {
		l.Weights[i].Sum += weight
		return
	}
	l.Weights = slices.Insert(l.Weights, i, Weight{strings.Clone(name), weight}) // the text may lie in the whole event's
	l.trim()
}

// find is the name's place. It is written out so that the text of a name that is known costs no copy on the heap.
func (l *Leaning) find(name string) (int, bool) {
	from, to := 0, len(l.Weights)
	for from < to {
		if middle := (from + to) / 2; l.Weights[middle].Name < name {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from, from < len(l.Weights) && l.Weights[from].Name == name
}

// trim lets names go until the bound is kept.
func (l *Leaning) trim() {
	for len(l.Weights) > MaxLeanings {
		last, highest := 0, uint64(0)
		for i, w := range l.Weights {
			if h := hashOf(w.Name); h >= highest { // of two with one hash the later name
				last, highest = i, h
			}
		}
		l.Rest += l.Weights[last].Sum
		l.Weights = slices.Delete(l.Weights, last, last+1)
	}
}

func hashOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// total is the weight of everything.
func (l *Leaning) total() Decayed {
	sum := l.Rest
	for _, w := range l.Weights {
		sum += w.Sum
	}
	return sum
}

// strongest is the name that weighs most, its weight and the total; of two that weigh the same to nine digits the
// first by name, since the last digits depend on the order of arrival.
func (l *Leaning) strongest() (name string, weight, total Decayed) {
	for _, w := range l.Weights {
		if w.Sum > weight+Decayed(float64(weight)*1e-9) {
			name, weight = w.Name, w.Sum
		}
	}
	return name, weight, l.total()
}

// Lean takes one more thing of a dimension into account.
func (p *Profile) Lean(d Dimension, name string, weight Decayed) { p.Leanings[d].Add(name, weight) }

// Affinity is the share of a name in all of its dimension, decayed: 0 to 1, to four decimals; 0 where nothing is known.
// Time makes everything weigh less alike, so it changes with the customer's track, page and screen events only, and
// never by itself.
func (p *Profile) Affinity(d Dimension, name string) float64 {
	l := &p.Leanings[d]
	i, found := l.find(name)
	if !found {
		return 0
	}
	return share(l.Weights[i].Sum, l.total())
}

// Favourite is the name with the largest share of a dimension, and the share; of two that are the same the first by
// name; empty where nothing is known. It never changes by itself.
func (p *Profile) Favourite(d Dimension) (name string, affinity float64) {
	name, weight, total := p.Leanings[d].strongest()
	return name, share(weight, total)
}

func share(of, total Decayed) float64 {
	if total <= 0 {
		return 0
	}
	return math.Round(float64(of/total)*1e4) / 1e4
}

// StyleEvidence is what a style group's share is held against: as if so much had been seen that speaks for nothing, a
// purchase or five views.
const StyleEvidence = 5

// StyleGroup is the category that the customer leans to most: the behavioural word for a taste. Empty where nothing is
// known. It never changes by itself; how much it is worth does, see [Profile.StyleConfidence].
func (p *Profile) StyleGroup() string {
	name, _, _ := p.Leanings[Category].strongest()
	return name
}

// StyleConfidence is how well the style group is founded at now: its weight in that of everything and StyleEvidence
// more, in whole hundredths, rounded down. It grows with what is seen and its unanimity, and falls as that grows old.
// until is the instant at which it is a hundredth less by itself; zero: it is 0.
func (p *Profile) StyleConfidence(now event.Instant) (confidence float64, until event.Instant) {
	_, weight, total := p.Leanings[Category].strongest()
	hundredths := math.Floor(confidenceAt(weight, total, now) * 100)
	if hundredths < 1 {
		return 0, 0
	}
	return hundredths / 100, confidentUntil(weight, total, hundredths/100, now)
}

// StyleConfident tells whether the style group's confidence is at least so much at now, and until when: until is zero
// where it isn't, since it rises by events only, or where at least 0 is asked.
func (p *Profile) StyleConfident(least float64, now event.Instant) (ok bool, until event.Instant) {
	_, weight, total := p.Leanings[Category].strongest()
	if least <= 0 {
		return true, 0
	}
	if confidenceAt(weight, total, now) < least {
		return false, 0
	}
	return true, confidentUntil(weight, total, least, now)
}

func confidenceAt(weight, total Decayed, now event.Instant) float64 {
	if weight <= 0 {
		return 0
	}
	return float64(weight) / (float64(total) + float64(StyleEvidence*growth(now)))
}

// confidentUntil is the first millisecond after now at which the confidence is below a positive bound that it reaches
// now. The search goes by the very function that decides, so both agree to the millisecond.
func confidentUntil(weight, total Decayed, least float64, now event.Instant) event.Instant {
	holds, fails := now, now+halfLife
	for confidenceAt(weight, total, fails) >= least {
		if holds, fails = fails, fails+halfLife; fails > landmark+mostPower*halfLife {
			return 0 // beyond what weights reach, 2102
		}
	}
	for fails-holds > 1 {
		if middle := holds + (fails-holds)/2; confidenceAt(weight, total, middle) >= least {
			holds = middle
		} else {
			fails = middle
		}
	}
	return fails
}

// SendHour is the hour of the day at which the customer is most active, 0 to 23 on a clock that is so far ahead of UTC
// (the customer's zone at the time in question), and the share of activity in it and half of that in its neighbours.
// false: nothing is known. It never changes by itself.
func (p *Profile) SendHour(ahead time.Duration) (hour int, share float64, ok bool) {
	var hours [24]float64
	total := float64(p.Leanings[Hour].total())
	for _, w := range p.Leanings[Hour].Weights {
		if h, err := strconv.Atoi(w.Name); err == nil && h >= 0 && h < len(hours) {
			hours[h] += float64(w.Sum)
		}
	}
	best, most := 0, 0.0
	for h := range hours { // smoothed: who reads at 8:55 and at 9:05 reads at nine
		smooth := float64(hours[h]/2) + float64((hours[(h+23)%24]+hours[(h+1)%24])/4)
		if smooth > most+float64(most*1e-9) {
			best, most = h, smooth
		}
	}
	if most <= 0 {
		return 0, 0, false
	}
	const day = 24 * 60
	minutes := best*60 + 30 + int(ahead/time.Minute)
	return ((minutes%day + day) % day) / 60, math.Round(most/total*1e4) / 1e4, true
}

// HourName is an hour's name in the dimension Hour: 00 to 23, UTC.
func HourName(at event.Instant) string {
	const hourMillis = 60 * 60 * 1000
	h := (at/hourMillis)%24 + 24
	if at%hourMillis < 0 {
		h--
	}
	const names = "000102030405060708091011121314151617181920212223"
	h %= 24
	return names[2*h : 2*h+2]
}

// PriceBand is the band that a price belongs to, in main units of its currency: 0-1, 1-2, 2-5, 5-10, 10-20 and so on up
// to 500000+; a band holds its lower bound. Empty for what is negative.
func PriceBand(price event.Money) string {
	if price < 0 {
		return ""
	}
	bands := [...]string{
		"0-1", "1-2", "2-5", "5-10", "10-20", "20-50", "50-100", "100-200", "200-500", "500-1000", "1000-2000", "2000-5000", "5000-10000",
		"10000-20000", "20000-50000", "50000-100000", "100000-200000", "200000-500000",
	}
	upper := event.MoneyUnit
	for i := range bands {
		if price < upper {
			return bands[i]
		}
		if i%3 == 1 { // 1, 2, 5, 10
			upper = upper / 2 * 5
		} else {
			upper *= 2
		}
	}
	return "500000+"
}
