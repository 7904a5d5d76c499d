package config

import (
	"fmt"
	"time"
)

// Learner says when models are trained without anybody asking.
type Learner struct {
	// Every is how long after the last training the next one begins, by one worker of all: 0 (never), or 1s to 8760h;
	// default 24h. The first is so long after the first start.
	Every time.Duration `yaml:"every"`
}

// Validate reports what is wrong with the learner's settings.
func (l Learner) Validate() error {
	if l.Every != 0 && (l.Every < time.Second || l.Every > 8760*time.Hour) {
		return fmt.Errorf("every: %s is outside 1s to 8760h: write 24h, or 0 for never", l.Every)
	}
	return nil
}
