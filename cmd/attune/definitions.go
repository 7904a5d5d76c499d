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
	"attune/stages/deliver"
	"attune/stages/deliver/template"
	"attune/stages/enrich"
	"attune/stages/trigger/recommend"
)

// definitions finds workspaces and models by the hash of their object: as chains for the customer stages, as
// templates for deliver. It is safe for concurrent use.
type definitions struct {
	store *control.Store

	mu         sync.Mutex
	workspaces map[string]*config.Workspace // a few: each version in force once
	templates  map[string]deliver.Template  // by hash and name
	models     map[string]scoring           // those in force, which all partitions share
}

// scoring is what models in force make of customers.
type scoring struct {
	models   enrich.Models
	products recommend.Products
}

var _ deliver.Templates = (*definitions)(nil)

func newDefinitions(ctx context.Context, js jetstream.JetStream, partitions int) (*definitions, error) {
	store, err := control.Open(ctx, js, partitions)
	if err != nil {
		return nil, err
	}
	return &definitions{store: store, workspaces: map[string]*config.Workspace{}, templates: map[string]deliver.Template{}, models: map[string]scoring{}}, nil
}

// chain compiles the definitions in force, with the models in force.
func (d *definitions) chain(ctx context.Context, inForce pipeline.Controls) (*pipeline.Chain, error) {
	workspace, now := config.Empty(), scoring{models: enrich.DefaultModels()}
	record := inForce[pipeline.KindDefinitions]
	if record.Version > 0 {
		var err error
		if workspace, err = d.workspace(ctx, record.Hash); err != nil {
			return nil, err
		}
	}
	if trained := inForce[pipeline.KindModels]; trained.Version > 0 {
		var err error
		if now, err = d.scoring(ctx, trained.Hash); err != nil {
			return nil, err
		}
	}
	return workspace.Recommending(record.Version, now.models, now.products)
}

// scoring finds models by the hash of their object. Of those that were used a few are kept: partitions come to a control
// record at different times.
func (d *definitions) scoring(ctx context.Context, hash string) (s scoring, err error) {
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
		if s.products.Model, err = readProducts(ctx, d.store, named.Products.Model); err != nil {
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
