package rule

import (
	"strconv"
	"strings"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// wordKind is where a word about the customer comes from.
type wordKind uint8

const (
	lifecycle wordKind = iota
	tier
	// What follows changes only with what the customer does, and a profile doesn't tell what it was before a step.
	styleGroup
	favouriteOf
)

const wordKinds = tier + 1 // of which it is known what they were before

// customerWords are the words about the customer, by their names after "customer.".
func customerWords() map[string]wordKind {
	return map[string]wordKind{"lifecycle": lifecycle, "tier": tier, "style_group": styleGroup}
}

// words is one thing about the customer that is said in a word.
type words struct {
	kind      wordKind
	name      string // as written
	dimension profile.Dimension
}

// get is the word, empty where there is none, and until when it holds by itself.
func (w *words) get(v *view) (string, event.Instant) {
	switch w.kind {
	case lifecycle:
		stage, until := v.p.Lifecycle()
		return stage.String(), later(until, v.now)
	case tier:
		name, until := v.p.Tier()
		return name, later(until, v.now)
	case styleGroup:
		return v.p.StyleGroup(), 0
	default:
		name, _ := v.p.Favourite(w.dimension)
		return name, 0
	}
}

func (w *words) String() string {
	if w.kind == favouriteOf {
		return "favourite(" + strconv.Quote(w.dimension.String()) + ")"
	}
	return w.name
}

func (a *atom) evalWord(v *view) (bool, event.Instant) {
	word, until := a.words.get(v)
	return word != "" && a.test.holdsWord(word), until
}

// holdsWord is holdsText without a copy.
func (t *test) holdsWord(word string) bool {
	switch t.op {
	case is:
		for i := range t.want {
			if t.want[i].kind == aString && t.want[i].text == word {
				return true
			}
		}
		return false
	case startsWith:
		return strings.HasPrefix(word, t.want[0].text)
	case endsWith:
		return strings.HasSuffix(word, t.want[0].text)
	case contains:
		return strings.Contains(word, t.want[0].text)
	case matches:
		return t.regexp.MatchString(word)
	}
	return false
}
