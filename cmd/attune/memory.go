package main

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// garbagePercent is how much garbage there may be to what is in use. A worker makes some 27 KB for each event, nearly
	// all of it short-lived, and each round of collecting it holds decisions up.
	garbagePercent = 300
	// memoryShare is how much of a container's memory may be used before garbage is collected more often.
	memoryShare = 0.8
)

// tuneMemory has garbage collected rarely where there is memory for it. The environment's GOGC and GOMEMLIMIT have the
// last word.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	// Its error says that nothing limits this process.
	_, _ = memlimit.Set(memlimit.WithProvider(memlimit.FromCgroup), memlimit.WithRatio(memoryShare))
}
