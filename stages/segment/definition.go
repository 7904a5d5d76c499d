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
	// Description is for people.
	Description string `yaml:"description" json:"description,omitempty"`
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
