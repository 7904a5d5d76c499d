package normalize

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func fingerprintOf(t interface{ Fatal(...any) }, payload string) uint64 {
	w, err := read([]byte(payload))
	if err != nil {
		t.Fatal(payload, err)
	}
	return w.fingerprint()
}

func TestFingerprint(t *testing.T) {
	const call = `{"type":"track","messageId":"m","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"a":1,"b":[1,2],"c":{"d":"x"}}}`
	for _, same := range []string{
		`{ "messageId":"other", "userId":"u","type":"track","event":"E", "timestamp":"2026-05-01T12:00:00Z","properties":{"c":{"d":"x"},"b":[1, 2],"a":1}}`,
		`{"type":"track","messageId":"m","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","sentAt":"2026-05-01T12:00:01Z","traits":null,"unknown":1,"properties":{"a":1,"b":[1,2],"c":{"d":"x"}}}`,
	} {
		if fingerprintOf(t, same) != fingerprintOf(t, call) {
			t.Errorf("%s is another call than %s", same, call)
		}
	}
	known := map[uint64]string{fingerprintOf(t, call): call}
	for _, other := range []string{
		`{}`,
		`{"type":"track","userId":"u","event":"F","timestamp":"2026-05-01T12:00:00Z","properties":{"a":1,"b":[1,2],"c":{"d":"x"}}}`,
		`{"type":"track","anonymousId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"a":1,"b":[1,2],"c":{"d":"x"}}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:01Z","properties":{"a":1,"b":[1,2],"c":{"d":"x"}}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"a":2,"b":[1,2],"c":{"d":"x"}}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"a":1,"b":[2,1],"c":{"d":"x"}}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"a":1,"b":[1,2],"d":{"c":"x"}}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"b":1,"a":[1,2],"c":{"d":"x"}}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"a":1,"b":[[1],2],"c":{"d":"x"}}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"a":1,"b":[1,2],"c":[]}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","properties":{"a":1,"b":[1,2],"c":{}}}`,
		`{"type":"track","userId":"u","event":"E","timestamp":"2026-05-01T12:00:00Z","context":{"a":1,"b":[1,2],"c":{"d":"x"}}}`,
	} {
		f := fingerprintOf(t, other)
		if known[f] != "" {
			t.Errorf("%s has the fingerprint %x of %s", other, f, known[f])
		}
		known[f] = other
	}
}

// The order in which fields are written is no difference, however deep they are.
func TestFingerprintOfShuffledFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		properties := rapid.MapOfN(rapid.StringN(0, 4, -1), rapid.MapOfN(rapid.StringN(0, 4, -1), rapid.IntRange(0, 3), 0, 4), 0, 4).Draw(t, "properties")
		write := func() string {
			text := ""
			for _, name := range rapid.Permutation(slices.Sorted(maps.Keys(properties))).Draw(t, "order") {
				inner := ""
				for _, key := range rapid.Permutation(slices.Sorted(maps.Keys(properties[name]))).Draw(t, "inner order") {
					quoted, _ := json.Marshal(key)
					inner += fmt.Sprintf(",%s:%d", quoted, properties[name][key])
				}
				quoted, _ := json.Marshal(name)
				text += fmt.Sprintf(",%s:{%s}", quoted, inner[min(1, len(inner)):])
			}
			return `{"properties":{` + text[min(1, len(text)):] + `}}`
		}
		if a, b := write(), write(); fingerprintOf(t, a) != fingerprintOf(t, b) {
			t.Fatalf("%s and %s differ", a, b)
		}
	})
}
