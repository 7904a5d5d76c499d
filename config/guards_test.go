package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/config"
	"attune/stages/segment"
)

// A segment is too small below its min_size, and until it is a tenth above it again.
func TestSmallSegmentsAreJudged(t *testing.T) {
	least := func(n int) *int { return &n }
	ws := &config.Workspace{Segments: []segment.Definition{{ID: "any", MinSize: least(0)}, {ID: "default"}, {ID: "ten", MinSize: least(10)}, {ID: "three", MinSize: least(3)}}}
	small := config.SmallSegments(nil)
	for i, step := range []struct {
		sizes map[string]int64
		want  config.SmallSegments
	}{
		{nil, config.SmallSegments{"default": 100, "ten": 10, "three": 3}},
		{map[string]int64{"default": 109, "ten": 10, "three": 3}, config.SmallSegments{"default": 100, "ten": 10, "three": 3}},
		{map[string]int64{"default": 110, "ten": 11, "three": 4}, config.SmallSegments{}},
		{map[string]int64{"default": 100, "ten": 10, "three": 3}, config.SmallSegments{}},
		{map[string]int64{"default": 99, "ten": 9, "three": 2}, config.SmallSegments{"default": 100, "ten": 10, "three": 3}},
	} {
		small = small.Judge(step.sizes, ws)
		if diff := cmp.Diff(step.want, small); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		data, err := small.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if small, err = config.DecodeSmallSegments(data); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, small); diff != "" {
			t.Errorf("step %d is stored otherwise (-want +got):\n%s", i, diff)
		}
	}
}
