package pipeline_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/pipeline"
)

// A process that stood still goes on while the next owner is at work: it finds newer profiles in the bucket, and the
// older ones that it commits late must not lie over them.
func TestCustomerFoldsNothingOlderOverTheNextOwner(t *testing.T) {
	t.Parallel()
	w := newRig(t, 1).world(t, 0)
	w.eventOf("p", "view")
	first := w.fate(0, 0, cut, nil)
	stop := w.customer(func(c *pipeline.CustomerConfig) { c.JetStream, c.FoldEvery = first.js, time.Hour })
	w.reach(w.end)
	first.wire.cut() // the state lies in the tail
	stop()

	w.eventOf("p", "view")
	picked, noted, wake := make(chan struct{}), make(chan struct{}), make(chan struct{})
	pick, note := sync.OnceFunc(func() { close(picked) }), sync.OnceFunc(func() { close(noted) })
	var batches atomic.Int64
	sleeper := w.customer(func(c *pipeline.CustomerConfig) {
		c.FailAt(func(at pipeline.Point) error {
			switch at {
			case pipeline.BatchComputed:
				if batches.Add(1) > 1 {
					return errDead // its commit would be refused, and it would fold no more
				}
			case pipeline.FoldBegun:
				pick()
				<-noted
			case pipeline.CommitStored:
				<-wake
			case pipeline.CommitNoted:
				note()
			}
			return nil
		})
	})
	t.Cleanup(note)
	w.reach(w.end)
	<-picked

	w.eventOf("p", "view")
	stop = w.customer(nil)
	w.reach(w.end)
	newest := w.witness.last().sequence
	eventually(t, "a commit says that it is folded", func() bool {
		w.eventOf("other", "view")
		w.reach(w.end)
		return w.witness.last().Mark >= newest
	})
	stop()
	close(wake)
	sleeper()
	for _, difference := range w.settle() {
		t.Error(difference)
	}
}

// A former owner folds and purges while the next one reads the tail: what is purged must not be missed there.
func TestCustomerReadsTheTailBesideAPurge(t *testing.T) {
	t.Parallel()
	const commits = 200 // more than are under way to the reader
	w := newRig(t, 1).world(t, 0)
	w.eventOf("p", "view")
	for i := range commits {
		w.eventOf(fmt.Sprint("other", i), "view")
	}
	w.eventOf("p", "view")
	w.eventOf("other", "view")
	closing, claimed := make(chan struct{}), make(chan struct{})
	leave, read := sync.OnceFunc(func() { close(closing) }), sync.OnceFunc(func() { close(claimed) })
	stop := w.customer(func(c *pipeline.CustomerConfig) {
		c.FoldEvery, c.CachedProfiles, c.CommitBytes = time.Hour, 1000, 1
		c.FailAt(func(at pipeline.Point) error {
			if at == pipeline.FoldBegun {
				leave()
				<-claimed
			}
			return nil
		})
	})
	w.reach(w.end)
	w.settled()
	left := make(chan struct{})
	go func() { defer close(left); stop() }()
	<-closing

	w.eventOf("p", "view")
	stop = w.customer(func(c *pipeline.CustomerConfig) {
		c.FailAt(func(at pipeline.Point) error {
			if at == pipeline.TailRead {
				read()
				<-left
			}
			return nil
		})
	})
	w.reach(w.end)
	stop()
	for _, difference := range w.settle() {
		t.Error(difference)
	}
}
