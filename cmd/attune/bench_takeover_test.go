package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// openTakeover has two workers, processes of their own, share the partitions while events trickle into each, and
// kills one with -9. The delay is from there until the other one has committed an event in the last of the dead
// one's partitions.
func openTakeover(tb testing.TB, _ scale) func() (figure, figure) {
	server := enginetest.NATS(tb)
	p := &product{tb: tb, js: connected(tb, server)}
	if err := p.prepare(topology.DefaultConfig()); err != nil {
		tb.Fatal(err)
	}
	epochs := &epochs{of: make([]uint64, benchPartitions)}
	stop := p.observe(epochs.see)
	tb.Cleanup(stop)
	p.trickle()
	startCustomers(tb, server.URL())
	epochs.await(tb, benchPartitions, time.Now())
	return func() (figure, figure) {
		joined := time.Now()
		victim := startCustomers(tb, server.URL())
		epochs.await(tb, benchPartitions/2, joined) // its share, exactly
		killed := time.Now()
		if err := victim.Process.Kill(); err != nil {
			tb.Fatal(err)
		}
		_ = victim.Wait()
		last := epochs.await(tb, benchPartitions/2, killed)
		return figure{value: milliseconds(last.Sub(killed)), note: fmt.Sprintf("%d of %d partitions", benchPartitions/2, benchPartitions)}, figure{}
	}
}

// startCustomers runs the customer chain in a process, until the test ends or it is killed.
func startCustomers(tb testing.TB, url string) *exec.Cmd {
	var said bytes.Buffer
	cmd := attune(context.WithoutCancel(tb.Context()), "run", "--only", pipeline.ReaderCustomer)
	cmd.Env = append(cmd.Env, "ATTUNE_NATS__URL="+url, "ATTUNE_LISTEN=127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if tb.Failed() {
			tb.Log(said.String())
		}
	})
	return cmd
}

// trickle appends an event to each partition every 10 ms, until the test ends.
func (p *product) trickle() {
	ctx, stop := context.WithCancel(context.WithoutCancel(p.tb.Context()))
	ended := make(chan struct{})
	f := newFeed(newPopulation(100*benchPartitions), each)
	byPartition := make([][]event.Event, benchPartitions)
	for range f.ids {
		partition, e := f.next(time.Now())
		byPartition[partition] = append(byPartition[partition], e)
	}
	ordinal := f.ordinal
	next := func(i int) (int, event.Event) {
		ordinal++
		those := byPartition[i]
		e := those[int(ordinal)/benchPartitions%len(those)]
		e.ID, e.Source.Ordinal = fmt.Sprint(ordinal), ordinal
		e.Accepted, e.Occurred = event.At(time.Now()), event.At(time.Now())
		return i, e
	}
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if _, err := fill(ctx, p.js, topology.Events, benchPartitions, next); err != nil && !errors.Is(err, context.Canceled) {
				p.tb.Error(err)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	p.tb.Cleanup(func() { stop(); <-ended })
}

// epochs follows who owns the partitions by what they commit.
type epochs struct {
	mu    sync.Mutex
	of    []uint64
	moved []time.Time // when each new owner had stored its first event
}

func (e *epochs) see(partition int, commit *pipeline.Commit, facts pipeline.Facts, stored time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(facts.Events) > 0 && commit.Epoch > e.of[partition] {
		e.of[partition] = commit.Epoch
		e.moved = append(e.moved, stored)
	}
}

// await waits until so many partitions have changed hands since then, and returns when the last of them had.
func (e *epochs) await(tb testing.TB, partitions int, since time.Time) (last time.Time) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		n := 0
		e.mu.Lock()
		for _, at := range e.moved {
			if at.After(since) {
				n, last = n+1, at
			}
		}
		e.mu.Unlock()
		if n >= partitions {
			return last
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%d of %d partitions changed hands within a minute", n, partitions)
		}
	}
}
