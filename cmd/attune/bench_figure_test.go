package main

import (
	"runtime"
	"slices"
	"syscall"
	"time"
)

// scale is how much smaller than in full a row is measured.
type scale int

const (
	full scale = 1
	tiny scale = 400
)

// of is the scaled number of events, or of profiles.
func (s scale) of(n int) int { return max(n/int(s), 16) }

// figure is one side of one repetition.
type figure struct {
	value float64
	cpu   float64 // µs of this process per event, user and system; 0: not measured
	note  string  // what else is worth knowing
}

func (f figure) valueOf() float64 { return f.value }
func (f figure) cpuOf() float64   { return f.cpu }

// turns lets both sides of a row run, the other one first each time: what the first leaves behind in caches and on
// the heap is then nobody's advantage.
type turns int

func (t *turns) run(ours, baseline func() figure) (a, b figure) {
	if *t++; *t%2 == 0 {
		a = ours()
		return a, baseline()
	}
	b = baseline()
	return ours(), b
}

// stopwatch measures wall and CPU time. Wall time is what counts and what neighbours disturb.
type stopwatch struct {
	began time.Time
	cpu   time.Duration
}

// startWatch begins with a clean heap, so that nobody pays for the one before.
func startWatch() stopwatch {
	runtime.GC()
	return stopwatch{began: time.Now(), cpu: cpuTime()}
}

// total is the CPU time per event since the start, where what was measured goes on after its last event.
func (s stopwatch) total(f figure, events int) figure {
	f.cpu = float64(cpuTime()-s.cpu) / float64(time.Microsecond) / float64(events)
	return f
}

// perSecond is the rate of so many events since the start.
func (s stopwatch) perSecond(events int) figure {
	took, cpu := time.Since(s.began), cpuTime()-s.cpu
	return figure{
		value: float64(events) / took.Seconds(),
		cpu:   float64(cpu) / float64(time.Microsecond) / float64(events),
	}
}

// cpuTime is what this process has used so far, the broker in it included.
func cpuTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func median(figures []figure, of func(figure) float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	values := make([]float64, len(figures))
	for i, f := range figures {
		values[i] = of(f)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

// percentile of durations, which it sorts.
func percentile(of []time.Duration, p float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[min(int(p*float64(len(of))), len(of)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
