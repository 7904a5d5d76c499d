package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/pipeline/rollout"
	"attune/stages/deliver"
	"attune/stages/deliver/template"
	"attune/stages/enrich"
	"attune/stages/trigger/recommend"
)

// definitions finds workspaces and models by the hash of their object: as chains for the customer stages, as
// templates for deliver. It is safe for concurrent use.
type definitions struct {
	store     *control.Store
	compiling sync.Mutex // all partitions ask for the same at the same moment

	mu         sync.Mutex
	workspaces map[string]*config.Workspace // a few: each version in force once
	templates  map[string]deliver.Template  // by hash and name
	chains     map[string]*pipeline.Chain   // by what is in force: all partitions share one
	models     map[string]scoring           // those in force
}

// scoring is what models in force make of customers.
type scoring struct {
	models   enrich.Models
	products *recommend.Model // nil: none
}

// keptChains is how many chains are kept: those of a change that is under way, before and after.
const keptChains = 4

var _ deliver.Templates = (*definitions)(nil)

func newDefinitions(ctx context.Context, js jetstream.JetStream, partitions int) (*definitions, error) {
	store, err := control.Open(ctx, js, partitions)
	if err != nil {
		return nil, err
	}
	return &definitions{
		store: store, workspaces: map[string]*config.Workspace{}, templates: map[string]deliver.Template{},
		chains: map[string]*pipeline.Chain{}, models: map[string]scoring{},
	}, nil
}

// chain compiles what is in force, with the definitions before it, for customers who have not had a step since, and those
// that are staged to follow.
func (d *definitions) chain(ctx context.Context, inForce pipeline.Controls) (*pipeline.Chain, error) {
	d.compiling.Lock()
	defer d.compiling.Unlock()
	key := fmt.Sprint(inForce) // in the order of the kinds
	d.mu.Lock()
	chain := d.chains[key]
	d.mu.Unlock()
	if chain != nil {
		return chain, nil
	}
	chain, err := d.compile(ctx, inForce)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.chains) >= keptChains {
		clear(d.chains)
	}
	d.chains[key] = chain
	return chain, nil
}

func (d *definitions) compile(ctx context.Context, inForce pipeline.Controls) (*pipeline.Chain, error) {
	scored, err := d.scoring(ctx, inForce[pipeline.KindModels])
	if err != nil {
		return nil, err
	}
	record := inForce[pipeline.KindDefinitions]
	workspace, err := d.inForce(ctx, record)
	if err != nil {
		return nil, err
	}
	small, err := readSmall(ctx, d.store, inForce[pipeline.KindGuards])
	if err != nil {
		return nil, err
	}
	stock, err := readStock(ctx, d.store, inForce[pipeline.KindStock])
	if err != nil {
		return nil, err
	}
	before := config.Empty()
	if record.At != 0 {
		if before, err = d.inForce(ctx, event.ControlRecord{Version: record.Version - 1, Hash: record.Before}); err != nil {
			return nil, err
		}
	}
	chain, err := workspace.InForce(record, before, scored.models,
		config.Recommending(recommend.NewProducts(scored.products, stock)), config.Guarding(small))
	if err != nil {
		return nil, err
	}
	if staged := inForce.Staged(); staged.Version > 0 {
		succession, err := d.succession(ctx, inForce)
		if err != nil {
			return nil, err
		}
		chain.Staged = succession.Staged
	}
	return chain, nil
}

// succession is how what is staged follows what is in force.
func (d *definitions) succession(ctx context.Context, inForce pipeline.Controls) (*config.Succession, error) {
	workspace, err := d.inForce(ctx, inForce[pipeline.KindDefinitions])
	if err != nil {
		return nil, err
	}
	staged := inForce.Staged()
	next, err := d.workspace(ctx, staged.Hash)
	if err != nil {
		return nil, err
	}
	return next.After(workspace, staged.Version)
}

// plan is what the rollout asks of a succession.
func (d *definitions) plan(ctx context.Context, inForce pipeline.Controls) (rollout.Plan, error) {
	return d.succession(ctx, inForce)
}

// inForce is the workspace of a record of definitions; the empty one where there is none yet.
func (d *definitions) inForce(ctx context.Context, record event.ControlRecord) (*config.Workspace, error) {
	if record.Version == 0 {
		return config.Empty(), nil
	}
	return d.workspace(ctx, record.Hash)
}

// scoring finds the models of a record; the built-in ones where there is none. Of those that were used a few are kept:
// partitions come to a control record at different times.
func (d *definitions) scoring(ctx context.Context, record event.ControlRecord) (s scoring, err error) {
	if record.Version == 0 {
		return scoring{models: enrich.DefaultModels()}, nil
	}
	hash := record.Hash
	d.mu.Lock()
	s, ok := d.models[hash]
	d.mu.Unlock()
	if ok {
		return s, nil
	}
	object, err := d.store.Object(ctx, hash)
	if err != nil {
		return s, err
	}
	if s.models, err = enrich.DecodeModels(object); err != nil {
		return s, fmt.Errorf("object %s: %w", hash, err)
	}
	var named struct {
		Products *productsRef `json:"products"`
	}
	if err := json.Unmarshal(object, &named); err != nil {
		return s, fmt.Errorf("object %s: %w", hash, err)
	}
	if named.Products != nil {
		if s.products, err = readProducts(ctx, d.store, named.Products.Model); err != nil {
			return s, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.models) >= keptModels {
		clear(d.models)
	}
	d.models[hash] = s
	return s, nil
}

// keptModels bounds the models in memory that no chain uses any more.
const keptModels = 3

// Template finds a mail's content. What the definitions don't have is parked: trying again can't help.
func (d *definitions) Template(ctx context.Context, hash, name string) (deliver.Template, error) {
	key := hash + "/" + name
	d.mu.Lock()
	found, ok := d.templates[key]
	d.mu.Unlock()
	if ok {
		return found, nil
	}
	workspace, err := d.workspace(ctx, hash)
	if err != nil {
		return found, err
	}
	source, ok := workspace.Templates[name]
	if !ok {
		return found, pipeline.Park("no_template", fmt.Errorf("definitions %s have no template %q", hash, name))
	}
	if found.HTML, err = template.Parse(name+".html", source.HTML); err != nil {
		return found, pipeline.Park("no_template", err)
	}
	if source.Text != "" {
		if found.Text, err = template.Parse(name+".txt", source.Text); err != nil {
			return found, pipeline.Park("no_template", err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.templates[key] = found
	return found, nil
}

func (d *definitions) workspace(ctx context.Context, hash string) (*config.Workspace, error) {
	d.mu.Lock()
	workspace, ok := d.workspaces[hash]
	d.mu.Unlock()
	if ok {
		return workspace, nil
	}
	data, err := d.store.Object(ctx, hash)
	if err != nil {
		return nil, err
	}
	if workspace, err = config.DecodeWorkspace(data); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workspaces[hash] = workspace
	return workspace, nil
}
