package profile

import (
	"math"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/portable"
)

// HalfLife is the time in which what a customer did loses half of its weight.
const HalfLife = 30 * 24 * time.Hour

// Weights decay forward (Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, 2009): an event of weight w at t is kept as
// w·2^((t-landmark)/HalfLife), once and for all, and whoever asks divides by the same power of now. So a sum is the same
// for any order of arrival, two profiles' sums add up, and nothing has to be touched as time passes. With this landmark
// a float64 holds weights from 1938 to 2102.
const (
	landmark  event.Instant = 1_577_836_800_000 // 2020-01-01
	halfLife                = event.Instant(HalfLife / time.Millisecond)
	mostPower               = 1000 // half-lives from the landmark, beyond which all weighs the same
)

// growth is 2^((at-landmark)/HalfLife), to a few units in the last place and the same on every machine.
func growth(at event.Instant) float64 {
	at = min(max(at, landmark-mostPower*halfLife), landmark+mostPower*halfLife)
	power, rest := (at-landmark)/halfLife, (at-landmark)%halfLife
	if rest < 0 {
		power, rest = power-1, rest+halfLife
	}
	f := float64(rest) / float64(halfLife)
	if f > 0.5 {
		power, f = power+1, f-1
	}
	return portable.ExpSmall(f*math.Ln2) * math.Float64frombits(uint64(power+1023)<<52)
}

// Decayed is a weight for what happens at one instant.
type Decayed float64

// Decay gives an event's weight of its time. What is said to occur after it was accepted (a clock that is ahead)
// weighs as if it occurred then, so it can't outweigh all that follows.
func Decay(e *event.Event) Decayed { return Decayed(growth(min(e.Occurred, e.Accepted))) }

// Times is so many times the weight.
func (d Decayed) Times(n float64) Decayed { return Decayed(float64(d) * n) }
