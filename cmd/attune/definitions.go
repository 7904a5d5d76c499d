package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/stages/deliver"
	"attune/stages/deliver/template"
)

// definitions finds workspaces by the hash of their object: as chains for the customer stages, as templates
// for deliver. It is safe for concurrent use.
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

// chain compiles the definitions that a control record names; the zero record has none.
func (d *definitions) chain(ctx context.Context, record event.ControlRecord) (*pipeline.Chain, error) {
	if record.Version == 0 {
		return config.Empty().Chain(0)
	}
	workspace, err := d.workspace(ctx, record.Hash)
	if err != nil {
		return nil, err
	}
	return workspace.Chain(record.Version)
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
