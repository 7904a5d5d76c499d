package drift

// Finding is one figure and what it was held against.
type Finding struct {
	Value     float64 `json:"value"`
	Threshold float64 `json:"threshold"`
	Values    int     `json:"values"` // how many it rests on
	Alarm     bool    `json:"alarm"`
}
