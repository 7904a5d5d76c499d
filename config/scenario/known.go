package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/config"
	"attune/pipeline/rule"
)

// question is what a profile's field is in the language of rules.
func question(field string) string {
	switch kind, name, _ := strings.Cut(field, "."); {
	case strings.Contains(field, "("):
		return field
	case kind == "trait" && name != "":
		return "trait(" + strconv.Quote(name) + ")"
	case kind == "consent" && name != "":
		return "consent(" + strconv.Quote(name) + ")"
	case kind == "customer":
		return field
	}
	return "customer." + field
}

// ask is the rule that holds where the field is what is wanted, and whether it is to be absent instead.
func ask(ws *config.Workspace, field string, want any) (r *rule.Rule, missing bool, err error) {
	asked := question(field)
	var tries []string
	switch v := want.(type) {
	case nil:
		tries, missing = []string{asked + `.contains("x")`, asked + " == 0", "since(" + asked + `) > "1d"`}, true
	case bool:
		tries = []string{map[bool]string{true: asked, false: "!(" + asked + ")"}[v], fmt.Sprintf("%s == %v", asked, v)}
	case string:
		tries = []string{asked + " == " + strconv.Quote(v)}
	default:
		tries = []string{fmt.Sprintf("%s == %v", asked, v)}
	}
	for _, text := range tries {
		if r, err = ws.Rule(text); err == nil {
			break
		}
	}
	if err == nil && len(r.Leaves()) > 0 {
		err = fmt.Errorf("%s: a profile keeps this for the rules that ask for it only; expect a segment that does", field)
	}
	return r, missing, err
}

func (s *Scenario) checkProfiles(ps *config.Problems, path string, ws *config.Workspace, want map[string]map[string]any) {
	for _, id := range slices.Sorted(maps.Keys(want)) {
		for _, field := range slices.Sorted(maps.Keys(want[id])) {
			if _, _, err := ask(ws, field, want[id][field]); err != nil {
				message := err.Error()
				if mistakes := rule.Errors(err); len(mistakes) > 0 {
					message = mistakes[0].Message
					if mistakes[0].Hint != "" {
						message += " (" + mistakes[0].Hint + ")"
					}
				}
				*ps = append(*ps, s.doc.Problem(path+"."+id, field, message, ""))
			}
		}
	}
}

// compareProfiles tells every field that is not what is expected, and what it is.
func (s *Scenario) compareProfiles(w *world, path string, at time.Duration, want map[string]map[string]any) []Failure {
	var failures []Failure
	for _, id := range slices.Sorted(maps.Keys(want)) {
		c := w.known(id)
		if c == nil {
			failures = append(failures, s.failure(path+"."+id, fmt.Sprintf("nobody is known as %s at %s", id, written(at)), nil))
			continue
		}
		var diff []string
		wrong := false
		for _, field := range slices.Sorted(maps.Keys(want[id])) {
			r, missing, err := ask(w.ws, field, want[id][field])
			if err != nil {
				return append(failures, s.failure(path+"."+id, err.Error(), nil))
			}
			x := r.Explain(rule.Input{Profile: c.profile, Now: max(w.now, c.profile.Now)})
			expected := fmt.Sprintf("%s: %v", field, want[id][field])
			if missing {
				expected = field + ": null"
			}
			if missing && (x.Value == rule.Absent || x.Value == "null") || !missing && x.Holds {
				diff = append(diff, "  "+expected)
				continue
			}
			wrong = true
			diff = append(diff, "- "+expected, "+ "+field+": "+w.relative(x.Value))
		}
		if wrong {
			failures = append(failures, s.failure(path+"."+id, fmt.Sprintf("the profile of %s at %s is not as expected", id, written(at)), diff))
		}
	}
	return failures
}
