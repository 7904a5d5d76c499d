package main

import (
	"runtime/debug"
	"testing"
)

// The collector is as rare as TestMain, like main, has made it; who sets GOGC has the last word.
func TestMemoryIsTuned(t *testing.T) {
	percent := func() int {
		now := debug.SetGCPercent(-1)
		debug.SetGCPercent(now)
		return now
	}
	t.Setenv("GOGC", "")
	tuneMemory()
	before := percent()
	t.Cleanup(func() { debug.SetGCPercent(before) })
	if before != garbagePercent {
		t.Errorf("garbage is collected at %d %%, want %d", before, garbagePercent)
	}
	t.Setenv("GOGC", "50")
	debug.SetGCPercent(50)
	if tuneMemory(); percent() != 50 {
		t.Errorf("GOGC=50 became %d", percent())
	}
}
