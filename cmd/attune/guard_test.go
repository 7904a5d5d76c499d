package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/stages/segment"
)

// Segments that are about to come into force are told to be too small before they do. Who counts meanwhile, by the definitions
// that are in force, must not take that back.
func TestWhatComesIntoForceStaysTooSmall(t *testing.T) {
	t.Parallel()
	i := install(t, 1)
	store, ctx := i.definitions.store, t.Context()
	members := map[string]int64{"same": 500, "changed": 500, "shrunk": 3}
	g := &guard{
		definitions: i.definitions, log: slog.New(slog.DiscardHandler),
		sizes: func(context.Context) (map[string]int64, error) { return members, nil },
	}
	count := func(when string, want config.SmallSegments) {
		t.Helper()
		if err := g.count(ctx); err != nil {
			t.Fatal(err)
		}
		small, err := smallSegments(ctx, store)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, small); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	now := workspaceOf([]segment.Definition{{ID: "changed", When: `did("A", "1d")`}, {ID: "same", When: `ever("A")`}, {ID: "shrunk", When: `ever("B")`}})
	next := workspaceOf([]segment.Definition{{ID: "changed", When: `did("A", "9d")`}, {ID: "fresh", When: `ever("C")`}, {ID: "same", When: `ever("A")`}})
	if _, err := applyWorkspace(ctx, i.js, store, now, false); err != nil {
		t.Fatal(err)
	}
	small := func(ids ...string) config.SmallSegments {
		all := config.SmallSegments{}
		for _, id := range ids {
			all[id] = now.Segments[0].LeastSize()
		}
		return all
	}
	count("before", small("shrunk"))
	object, _, err := next.Encode()
	if err != nil {
		t.Fatal(err)
	}
	staged, _, err := store.Apply(ctx, pipeline.KindStaged, object, time.Now(), control.Staging(false))
	if err != nil {
		t.Fatal(err)
	}
	count("while it is prepared", small("shrunk"))
	if err := g.beforeSwitch(ctx, staged); err != nil {
		t.Fatal(err)
	}
	count("before the switch", small("changed", "fresh", "shrunk"))
	if _, _, err := store.Apply(ctx, pipeline.KindDefinitions, object, time.Now(), control.Prepared(staged.Version, false, time.Now())); err != nil {
		t.Fatal(err)
	}
	count("after the switch", small("fresh"))
}
