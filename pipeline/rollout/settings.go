package rollout

import "fmt"

// Settings are the rollout's part of attune.yaml.
type Settings struct {
	// Rate is how many customers are judged a second, at most, when definitions change: by one worker, for all. Default
	// 2000, 1 to 1000000.
	Rate int `yaml:"rate"`
}

// DefaultSettings leave most of a small machine to what happens now.
func DefaultSettings() Settings { return Settings{Rate: DefaultRate} }

// Validate says what is wrong and what would be right.
func (s Settings) Validate() error {
	if s.Rate < 1 || s.Rate > 1_000_000 {
		return fmt.Errorf("rate: %d is outside 1 to 1000000 customers a second", s.Rate)
	}
	return nil
}
