package segment

import (
	"errors"
	"fmt"
	"strings"
)

// Definition is one segment as the workspace defines it.
type Definition struct {
	// ID names the segment everywhere, ClickHouse included: lower-case letters, digits and hyphens, at most 63,
	// not beginning with a hyphen.
	ID string `yaml:"id" json:"id"`
	// When is the rule that says who is in it, in the language of package rule.
	When string `yaml:"when" json:"when"`
	// MinSize is how many members the segment must have to choose who gets a campaign's mail: below, campaigns that ask for
	// it do as their below_min_size says. By default (nil) 100; 0: any number.
	MinSize *int `yaml:"min_size" json:"min_size,omitempty"`
	// Description is for people.
	Description string `yaml:"description" json:"description,omitempty"`
}

// DefaultMinSize is the size below which a segment tells too much of its members, and measures too little.
const DefaultMinSize = 100

// MaxMinSize bounds min_size.
const MaxMinSize = 1_000_000_000

// LeastSize is MinSize with its default.
func (d Definition) LeastSize() int {
	if d.MinSize == nil {
		return DefaultMinSize
	}
	return *d.MinSize
}

// Validate checks the id and that there is a rule; New compiles it.
func (d Definition) Validate() error {
	var errs []error
	if !validID(d.ID) {
		errs = append(errs, fmt.Errorf("id: %q is no segment id; want lower-case letters, digits and hyphens, at most 63, "+
			"not beginning with a hyphen, such as %q", d.ID, suggestID(d.ID)))
	}
	if strings.TrimSpace(d.When) == "" {
		errs = append(errs, errors.New(`when: is empty; want a rule, such as did("Product Viewed", "24h")`))
	}
	if n := d.LeastSize(); n < 0 || n > MaxMinSize {
		errs = append(errs, fmt.Errorf("min_size: %d is out of range; want 0 (any number) to %d members", n, MaxMinSize))
	}
	return errors.Join(errs...)
}

func validID(id string) bool {
	if id == "" || len(id) > 63 || id[0] == '-' {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// suggestID makes an id of what was meant as one.
func suggestID(id string) string {
	fit := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, id), "-")
	if fit = strings.TrimRight(fit[:min(len(fit), 63)], "-"); fit == "" {
		return "hot-sneaker-fans"
	}
	return fit
}
