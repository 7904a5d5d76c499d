package event

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestInstantRoundTrip(t *testing.T) {
	low := At(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))
	high := At(time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC))
	rapid.Check(t, func(t *rapid.T) {
		want := Instant(rapid.Int64Range(int64(low), int64(high)).Draw(t, "instant"))
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Instant
		if err := json.Unmarshal(data, &got); err != nil || got != want {
			t.Fatalf("%d is %s, which reads as %d, %v", want, data, got, err)
		}
		if At(want.Time()) != want {
			t.Fatalf("%d comes back from its time as %d", want, At(want.Time()))
		}
	})
	for _, i := range []Instant{low - 1, high + 1, math.MaxInt64, math.MinInt64} {
		if data, err := json.Marshal(i); err == nil {
			t.Errorf("%d is written as %s, which no reader takes", i, data)
		}
	}
}

func TestInstantText(t *testing.T) {
	for text, want := range map[string]Instant{
		`""`: 0, `"1970-01-01T00:00:00.001Z"`: 1, `"1970-01-01T01:00:00.0019+01:00"`: 1, `"1970-01-01T00:00:02Z"`: 2000, `null`: 0,
	} {
		var got Instant
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s reads as %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{`1`, `"yesterday"`, `"2026-01-01"`, `{}`} {
		var got Instant
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s reads as %d", text, got)
		}
	}
	if Instant(0).String() != "" || Instant(1).String() != "1970-01-01T00:00:00.001Z" {
		t.Errorf("got %q and %q", Instant(0), Instant(1))
	}
}

func TestInstantArithmetic(t *testing.T) {
	if got := Instant(1000).Add(1500 * time.Microsecond); got != 1001 {
		t.Errorf("Add = %d", got)
	}
	if got := Instant(2000).Sub(500); got != 1500*time.Millisecond {
		t.Errorf("Sub = %s", got)
	}
	far := At(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	if got := far.Sub(1); got < 292*365*24*time.Hour {
		t.Errorf("Sub of 8029 years = %s: it wrapped around", got)
	}
	if got := Instant(1).Sub(far); got > -292*365*24*time.Hour {
		t.Errorf("Sub of -8029 years = %s: it wrapped around", got)
	}
	if At(time.Time{}) != 0 || !Instant(0).Time().IsZero() {
		t.Error("zero is none, both ways")
	}
}
