package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/sinks/clickhouse"
)

const (
	// guardTopic is what its owner owns.
	guardTopic = "guards"
	// guardEvery is how often the segments are counted.
	guardEvery = 3 * time.Second
)

// guard counts the segments' members in ClickHouse and tells the stages, by a control record, which are too small. While
// ClickHouse can't be asked, nothing changes, except that new segments are too small until they are counted.
type guard struct {
	definitions *definitions
	owner       bus.Owner
	sizes       func(ctx context.Context) (map[string]int64, error)
	log         *slog.Logger

	told bool // what is in force is in the log of every partition
}

// run works while it is this process's part, until ctx ends.
func (g *guard) run(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		held, release, err := bus.Own(ctx, g.owner, guardTopic)
		if err != nil {
			return // ctx has ended
		}
		g.told = false // whoever had the part before may have died while telling
		for held.Err() == nil {
			if err := g.count(held); err != nil && held.Err() == nil && !failing {
				failing = true
				g.log.Warn("count the segments' members, trying again", "error", err)
			} else if err == nil {
				failing = false
			}
			select {
			case <-time.After(guardEvery):
			case <-held.Done():
			}
		}
		release()
	}
}

// count judges the segments in force by their sizes.
func (g *guard) count(ctx context.Context) error {
	inForce, err := g.definitions.store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil || inForce.Version == 0 {
		return err
	}
	workspace, err := g.definitions.workspace(ctx, inForce.Hash)
	if err != nil {
		return err
	}
	sizes, err := g.sizes(ctx)
	if err != nil {
		return err
	}
	before, err := smallSegments(ctx, g.definitions.store)
	if err != nil {
		return err
	}
	err = tellSmall(ctx, g.definitions.store, before.Judge(sizes, workspace), g.told)
	g.told = err == nil
	return err
}

// beforeSwitch tells that the segments which come into force are too small, unless they were counted before and weren't.
func (g *guard) beforeSwitch(ctx context.Context, staged event.ControlRecord) error {
	inForce, err := g.definitions.store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil {
		return err
	}
	now, err := g.definitions.inForce(ctx, inForce)
	if err != nil {
		return err
	}
	next, err := g.definitions.workspace(ctx, staged.Hash)
	if err != nil {
		return err
	}
	return tellNewSegments(ctx, g.definitions.store, now, next)
}

// smallSegments are those that are too small as the newest control record says.
func smallSegments(ctx context.Context, store *control.Store) (config.SmallSegments, error) {
	record, err := store.Newest(ctx, pipeline.KindGuards)
	if err != nil {
		return nil, err
	}
	return readSmall(ctx, store, record)
}

// readSmall reads a control record's object; without a record none is too small.
func readSmall(ctx context.Context, store *control.Store, record event.ControlRecord) (config.SmallSegments, error) {
	if record.Version == 0 {
		return nil, nil
	}
	object, err := store.Object(ctx, record.Hash)
	if err != nil {
		return nil, err
	}
	return config.DecodeSmallSegments(object)
}

// tellSmall puts the segments that are too small in force, unless they are those of before, of which every partition has
// been told.
func tellSmall(ctx context.Context, store *control.Store, small config.SmallSegments, told bool) error {
	object, err := small.Encode()
	if err != nil {
		return err
	}
	record, err := store.Newest(ctx, pipeline.KindGuards)
	if err != nil || told && record.Hash == control.Hash(object) {
		return err
	}
	_, _, err = store.Apply(ctx, pipeline.KindGuards, object, time.Now())
	return err
}

// tellNewSegments adds the segments of a workspace that comes into force, and that weren't in the one before or are defined
// otherwise, to those that are too small: nobody has counted them yet.
func tellNewSegments(ctx context.Context, store *control.Store, before, next *config.Workspace) error {
	small, err := smallSegments(ctx, store)
	if err != nil {
		return err
	}
	same := map[string]bool{}
	for _, s := range before.Segments {
		same[s.ID+" "+s.When] = true
	}
	all := config.SmallSegments{}
	for id, least := range small {
		all[id] = least
	}
	for _, s := range next.Segments {
		if least := s.LeastSize(); least > 0 && !same[s.ID+" "+s.When] {
			all[s.ID] = least
		}
	}
	return tellSmall(ctx, store, all, false)
}

// segmentSizes counts the members of each segment in ClickHouse, exactly.
func segmentSizes(c clickhouse.Config) func(ctx context.Context) (map[string]int64, error) {
	return func(ctx context.Context) (map[string]int64, error) {
		dsn, err := c.QueryDSN()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var answer strings.Builder
		err = clickhouse.Query(ctx, dsn, `SELECT segment, sum(if(entered, 1, -1)) FROM segment_changes GROUP BY segment`, "TabSeparated", &answer)
		if err != nil {
			return nil, err
		}
		sizes := map[string]int64{}
		for line := range strings.Lines(answer.String()) {
			id, count, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			n, err := strconv.ParseInt(count, 10, 64)
			if !ok || err != nil {
				return nil, fmt.Errorf("the database answers %q", line)
			}
			sizes[id] = n
		}
		return sizes, nil
	}
}
