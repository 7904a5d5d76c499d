package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
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
}

// run works while it is this process's part, until ctx ends.
func (g *guard) run(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		held, release, err := bus.Own(ctx, g.owner, guardTopic)
		if err != nil {
			return // ctx has ended, or this worker can't ask ClickHouse
		}
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

// count judges the segments in force by their sizes, and leaves those alone that are about to come into force.
func (g *guard) count(ctx context.Context) error {
	store := g.definitions.store
	if inForce, err := store.Newest(ctx, pipeline.KindDefinitions); err != nil || inForce.Version == 0 {
		return err
	}
	sizes, err := g.sizes(ctx)
	if err != nil {
		return err
	}
	// What is in force is read anew whenever somebody else has told of segments meanwhile, as before a switch.
	return changeSmall(ctx, store, func(before config.SmallSegments) (config.SmallSegments, error) {
		now, next, err := g.workspaces(ctx)
		if err != nil {
			return nil, err
		}
		small := before.Judge(sizes, now)
		if next != nil {
			for id, least := range newSegments(now, next) {
				if _, told := before[id]; told {
					small[id] = least
				}
			}
		}
		return small, nil
	})
}

// workspaces are the one in force, and the one that is being prepared; nil: none is.
func (g *guard) workspaces(ctx context.Context) (now, next *config.Workspace, err error) {
	store := g.definitions.store
	inForce, err := store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil {
		return nil, nil, err
	}
	staged, err := store.Newest(ctx, pipeline.KindStaged)
	if err != nil {
		return nil, nil, err
	}
	if now, err = g.definitions.workspace(ctx, inForce.Hash); err == nil && staged.Version > inForce.Staged {
		next, err = g.definitions.workspace(ctx, staged.Hash)
	}
	return now, next, err
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

// changeSmall puts in force what change makes of the segments that are too small, unless that is what they are.
func changeSmall(ctx context.Context, store *control.Store, change func(before config.SmallSegments) (config.SmallSegments, error)) error {
	_, _, err := store.Change(ctx, pipeline.KindGuards, time.Now(), func(object []byte) ([]byte, error) {
		var before config.SmallSegments
		var err error
		if object != nil {
			if before, err = config.DecodeSmallSegments(object); err != nil {
				return nil, err
			}
		}
		small, err := change(before)
		if err != nil {
			return nil, err
		}
		return small.Encode()
	})
	return err
}

// tellNewSegments adds the segments of a workspace that comes into force, and that weren't in the one before or are defined
// otherwise, to those that are too small: nobody has counted them yet.
func tellNewSegments(ctx context.Context, store *control.Store, before, next *config.Workspace) error {
	return changeSmall(ctx, store, func(small config.SmallSegments) (config.SmallSegments, error) {
		all := config.SmallSegments{}
		maps.Copy(all, small)
		maps.Copy(all, newSegments(before, next))
		return all, nil
	})
}

// newSegments are those of the next workspace that weren't in the one before or are defined otherwise, with their least size.
func newSegments(before, next *config.Workspace) config.SmallSegments {
	same := map[string]bool{}
	for _, s := range before.Segments {
		same[s.ID+" "+s.When] = true
	}
	fresh := config.SmallSegments{}
	for _, s := range next.Segments {
		if least := s.LeastSize(); least > 0 && !same[s.ID+" "+s.When] {
			fresh[s.ID] = least
		}
	}
	return fresh
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
