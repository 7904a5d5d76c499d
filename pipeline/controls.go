package pipeline

import "attune/pipeline/event"

// Kinds of control records.
const (
	KindDefinitions = "definitions" // brings segments and campaigns into force
	KindModels      = "models"      // brings what scores customers into force
	KindGuards      = "guards"      // says which segments have too few members
	KindStock       = "stock"       // says which products are out of stock
	KindStaged      = "staged"      // has definitions prepared, which come into force when all customers are judged by them
)

// Controls are the control records in force, by kind. A kind that is missing has the zero record: without definitions
// there is no segment and no campaign, without models the built-in ones score.
type Controls map[string]event.ControlRecord

// Steers tells whether this program knows what a kind of control record changes. Who doesn't must not go on past one:
// it would decide by what is no longer in force.
func Steers(kind string) bool {
	switch kind {
	case KindDefinitions, KindModels, KindStaged, KindGuards, KindStock:
		return true
	}
	return false
}

// Staged is the record of what is being prepared; zero: nothing is.
func (c Controls) Staged() event.ControlRecord {
	if staged := c[KindStaged]; staged.Version > c[KindDefinitions].Staged {
		return staged
	}
	return event.ControlRecord{}
}
