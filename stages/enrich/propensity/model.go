package propensity

import (
	"encoding/json"
	"fmt"
	"math"

	"attune/pipeline/portable"
)

// Model scores rows. It never changes after Train or Decode and is safe for concurrent use.
type Model struct {
	Columns []Column  `json:"columns"`
	Crosses [][2]int  `json:"crosses"` // pairs of columns that are looked at together
	Bias    float64   `json:"bias"`
	Weights []float64 `json:"weights"` // fine bins of each column, then coarse bins, then the crosses
	// Variance is that of each weight, of the diagonal of the information; Spread is what the variance of a whole score is
	// as a share of the sum of those.
	Variance []float64 `json:"variance"`
	Spread   float64   `json:"spread"`
	// Slope and Shift make the log odds calibrated.
	Slope float64 `json:"slope"`
	Shift float64 `json:"shift"`
}

// Score is a probability and how far it is known.
type Score struct {
	Probability float64
	Low, High   float64 // 90 % interval of Probability
	// Confidence is 1 - (High-Low): from 0, nothing is known, to 1.
	Confidence float64
}

// maxColumns bounds a model, so that a score needs no memory of its own.
const maxColumns = 256

// Score tells how likely the label is for a row, which has a value for each of the model's columns.
func (m *Model) Score(row Row) Score {
	z, variance := m.sum(row)
	z = float64(m.Slope*z) + m.Shift
	reach := float64(1.6448536269514722 * float64(abs(m.Slope)*math.Sqrt(float64(m.Spread*variance))))
	s := Score{Probability: portable.Logistic(z), Low: portable.Logistic(z - reach), High: portable.Logistic(z + reach)}
	s.Confidence = 1 - (s.High - s.Low)
	return s
}

// sum is the log odds before the calibration, and the sum of the weights' variances.
func (m *Model) sum(row Row) (z, variance float64) {
	var coarse [maxColumns]int16
	z = m.Bias
	offset := 0
	take := func(i int) { z, variance = z+m.Weights[i], variance+m.Variance[i] }
	for i := range m.Columns {
		c := &m.Columns[i]
		bin := c.bin(row[i])
		coarse[i] = int16(c.Coarse[bin])
		take(offset + bin)
		take(offset + len(c.Coarse) + int(coarse[i]))
		offset += len(c.Coarse) + coarseBins
	}
	for i, x := range m.Crosses {
		take(offset + i*crossBins + int(coarse[x[0]])*coarseBins + int(coarse[x[1]]))
	}
	return z, variance
}

const crossBins = coarseBins * coarseBins

// active lists the weights that a row uses.
func (m *Model) active(row Row, into []int32) []int32 {
	var coarse [maxColumns]int
	into = into[:0]
	offset := 0
	for i := range m.Columns {
		c := &m.Columns[i]
		bin := c.bin(row[i])
		coarse[i] = c.Coarse[bin]
		into = append(into, int32(offset+bin), int32(offset+len(c.Coarse)+coarse[i]))
		offset += len(c.Coarse) + coarseBins
	}
	for i, x := range m.Crosses {
		into = append(into, int32(offset+i*crossBins+coarse[x[0]]*coarseBins+coarse[x[1]]))
	}
	return into
}

func (m *Model) size() int {
	n := len(m.Crosses) * crossBins
	for i := range m.Columns {
		n += len(m.Columns[i].Coarse) + coarseBins
	}
	return n
}

// Encode is the model as JSON.
func (m *Model) Encode() ([]byte, error) { return json.Marshal(m) }

// Decode reads what Encode wrote and checks it.
func Decode(data []byte) (*Model, error) {
	m := &Model{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("propensity: %w", err)
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("propensity: %w", err)
	}
	return m, nil
}

func (m *Model) validate() error {
	if len(m.Columns) > maxColumns {
		return fmt.Errorf("the model has %d columns: at most %d", len(m.Columns), maxColumns)
	}
	for _, c := range m.Columns {
		want := firstBin + len(c.Cuts) + 1
		if c.Values != nil {
			want = firstBin + len(c.Values)
		}
		if len(c.Coarse) != want {
			return fmt.Errorf("column %s has %d bins: want %d", c.Name, len(c.Coarse), want)
		}
		for _, g := range c.Coarse {
			if g < 0 || g >= coarseBins {
				return fmt.Errorf("column %s has the coarse bin %d: want 0 to %d", c.Name, g, coarseBins-1)
			}
		}
	}
	for _, x := range m.Crosses {
		if x[0] < 0 || x[1] < 0 || x[0] >= len(m.Columns) || x[1] >= len(m.Columns) {
			return fmt.Errorf("the cross %v is of no columns", x)
		}
	}
	if len(m.Weights) != m.size() || len(m.Variance) != m.size() {
		return fmt.Errorf("the model has %d weights and %d variances: want %d", len(m.Weights), len(m.Variance), m.size())
	}
	return nil
}

func abs(x float64) float64 { return math.Abs(x) }
