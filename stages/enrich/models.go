package enrich

import (
	"encoding/json"
	"fmt"

	"attune/stages/enrich/clv"
)

// Models are what customers are scored by: DefaultModels until others are trained and put in force.
type Models struct {
	CLV clv.Model `json:"clv"`
	// Propensities are the models of what the workspace foretells; none is built in.
	Propensities []PropensityModel `json:"propensities,omitempty"`
}

// DefaultModels are those of a shop that has not trained any: clv.CDNOW.
func DefaultModels() Models { return Models{CLV: clv.CDNOW()} }

// DecodeModels reads the object that a control record of models names. What else the object tells is left alone.
func DecodeModels(object []byte) (Models, error) {
	var m Models
	if err := json.Unmarshal(object, &m); err != nil {
		return Models{}, fmt.Errorf("models: %w", err)
	}
	if err := m.CLV.Validate(); err != nil {
		return Models{}, fmt.Errorf("models: %w", err)
	}
	for i := range m.Propensities {
		if err := m.Propensities[i].Validate(); err != nil {
			return Models{}, fmt.Errorf("models: %w", err)
		}
	}
	return m, nil
}
