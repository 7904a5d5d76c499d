package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"attune/pipeline"
	"attune/stages/enrich"
	"attune/stages/segment"
	"attune/stages/trigger"
	"attune/stages/trigger/recommend"
)

// definitionsFormat is the version of the encoded form. A program that doesn't know a form must not guess.
const definitionsFormat = 1

// definitions is the encoded form of a workspace.
type definitions struct {
	Format    int                  `json:"format"`
	Name      string               `json:"name"`
	Enrich    enrich.Config        `json:"enrich"`
	Segments  []segment.Definition `json:"segments"`
	Campaigns []trigger.Campaign   `json:"campaigns"`
	Templates map[string]Template  `json:"templates"`
}

// Encode writes all definitions, templates included, as one object: the same workspace gives the same bytes, on
// every machine. hash is its SHA-256 in lower-case hex, the name by which control records and deliveries know it.
func (ws *Workspace) Encode() (data []byte, hash string, err error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	d := definitions{
		Format: definitionsFormat, Name: ws.Name,
		Enrich:   ws.Enrich,
		Segments: ws.Segments, Campaigns: ws.Campaigns, Templates: ws.Templates,
	}
	if d.Segments == nil {
		d.Segments = []segment.Definition{}
	}
	if d.Campaigns == nil {
		d.Campaigns = []trigger.Campaign{}
	}
	if d.Templates == nil {
		d.Templates = map[string]Template{}
	}
	if err := enc.Encode(d); err != nil {
		return nil, "", fmt.Errorf("encode workspace %q: %w", ws.Name, err)
	}
	data = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:]), nil
}

// DecodeWorkspace reads what Encode wrote. It refuses what it doesn't know: definitions that only a newer program
// understands must not be half applied.
func DecodeWorkspace(data []byte) (*Workspace, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	d := definitions{Enrich: enrich.DefaultConfig()} // what an older program did not write
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("decode definitions: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode definitions: something follows the object")
	}
	if d.Format != definitionsFormat {
		return nil, fmt.Errorf("decode definitions: format %d is not known, want %d: they were applied by another version of attune", d.Format, definitionsFormat)
	}
	sum := sha256.Sum256(data)
	return &Workspace{
		object: hex.EncodeToString(sum[:]),
		Name:   d.Name, Enrich: d.Enrich,
		Segments: d.Segments, Campaigns: d.Campaigns, Templates: d.Templates,
	}, nil
}

// Empty is a workspace without any definition: customers are valued, and nothing more.
func Empty() *Workspace {
	return &Workspace{Enrich: enrich.DefaultConfig(), Templates: map[string]Template{}}
}

// ChainOption is something that a chain has beside the definitions.
type ChainOption func(*trigger.Stage)

// Recommending gives campaigns products to recommend; without it, nothing is recommended.
func Recommending(products recommend.Products) ChainOption {
	return func(stage *trigger.Stage) { stage.Recommend(products) }
}

// Guarding keeps segments that are too small from choosing who gets a mail; without it, none is too small.
func Guarding(small SmallSegments) ChainOption {
	return func(stage *trigger.Stage) { stage.Guard(small) }
}

// Chain compiles the workspace to the customer chain: enrich, segment, trigger, in this order. version is that of
// the control record that brings the definitions into force; the models score. It is the one place where the chain is
// composed.
func (ws *Workspace) Chain(version uint64, models enrich.Models, options ...ChainOption) (*pipeline.Chain, error) {
	hash := ws.object
	if hash == "" {
		var err error
		if _, hash, err = ws.Encode(); err != nil {
			return nil, err
		}
	}
	compiler, err := ws.compiler()
	if err != nil {
		return nil, err
	}
	segmentStage, err := segment.New(ws.Segments, compiler)
	if err != nil {
		return nil, fmt.Errorf("workspace %q: %w", ws.Name, err)
	}
	ids := make(map[string]bool, len(ws.Segments))
	for _, s := range ws.Segments {
		ids[s.ID] = true
	}
	triggerStage, err := trigger.New(ws.Campaigns, compiler, ids)
	if err != nil {
		return nil, fmt.Errorf("workspace %q: %w", ws.Name, err)
	}
	for _, option := range options {
		option(triggerStage)
	}
	// What rules look back at in time is recorded by the stage whose rules they are; what they ask of all time, by
	// enrich, for all of them.
	enrichStage, err := enrich.New(ws.Enrich, models, enrich.Asked{
		Totals:     slices.Concat(segmentStage.Asks(), triggerStage.Asks()),
		Propensity: segmentStage.AsksPropensity() || triggerStage.AsksPropensity(),
	})
	if err != nil {
		return nil, fmt.Errorf("workspace %q: %w", ws.Name, err)
	}
	return &pipeline.Chain{
		Stages:  []pipeline.Stage{enrichStage, segmentStage, triggerStage},
		Version: version, Definitions: hash,
	}, nil
}
