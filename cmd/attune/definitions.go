package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/stages/deliver"
	"attune/stages/deliver/template"
	"attune/stages/enrich"
)

// definitions finds workspaces and models by the hash of their object: as chains for the customer stages, as
// templates for deliver. It is safe for concurrent use.
type definitions struct {
	store *control.Store

	mu         sync.Mutex
	workspaces map[string]*config.Workspace // a few: each version in force once
	templates  map[string]deliver.Template  // by hash and name
}

var _ deliver.Templates = (*definitions)(nil)

func newDefinitions(ctx context.Context, js jetstream.JetStream, partitions int) (*definitions, error) {
	store, err := control.Open(ctx, js, partitions)
	if err != nil {
		return nil, err
	}
	return &definitions{store: store, workspaces: map[string]*config.Workspace{}, templates: map[string]deliver.Template{}}, nil
}

// chain compiles the definitions in force, with the models in force.
func (d *definitions) chain(ctx context.Context, inForce pipeline.Controls) (*pipeline.Chain, error) {
	workspace, models := config.Empty(), enrich.DefaultModels()
	record := inForce[pipeline.KindDefinitions]
	if record.Version > 0 {
		var err error
		if workspace, err = d.workspace(ctx, record.Hash); err != nil {
			return nil, err
		}
	}
	if trained := inForce[pipeline.KindModels]; trained.Version > 0 { // read once a change: not worth a cache
		object, err := d.store.Object(ctx, trained.Hash)
		if err != nil {
			return nil, err
		}
		if models, err = enrich.DecodeModels(object); err != nil {
			return nil, fmt.Errorf("object %s: %w", trained.Hash, err)
		}
	}
	return workspace.Chain(record.Version, models)
}

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
