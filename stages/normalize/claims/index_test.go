package claims

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestIndexForgetsByEighths(t *testing.T) {
	const age = 8 * time.Hour
	x := index{age: age}
	began := time.Unix(1_800_000_000, 0)
	const claims = 1000
	every := 24 * time.Hour / claims
	for n := range claims {
		now := began.Add(time.Duration(n) * every)
		x.add(Key{uint64(n) << 50, uint64(n)}, placeOf(uint64(n+1), 0), now)
		for m := range n + 1 {
			old := now.Sub(began.Add(time.Duration(m) * every))
			switch found := x.find(Key{uint64(m) << 50, uint64(m)}) != 0; {
			case old <= age && !found:
				t.Fatalf("a claim of %s ago is forgotten", old)
			case old > age+age/generations+every && found:
				t.Fatalf("a claim of %s ago is remembered", old)
			}
		}
	}
	if n := len(x.tables); n > generations+2 {
		t.Errorf("%d tables", n)
	}
}

// The index finds what a map would, whatever the keys.
func TestIndexIsAMap(t *testing.T) {
	word := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 9), rapid.Just(uint64(1)<<56))
	rapid.Check(t, func(t *rapid.T) {
		x, known := index{age: time.Hour}, map[Key]place{}
		now := time.Unix(0, 0)
		for n := range rapid.IntRange(0, 300).Draw(t, "claims") {
			k := Key{word.Draw(t, "high"), word.Draw(t, "low")}
			now = now.Add(time.Second)
			p := placeOf(uint64(n/5+1), n%5)
			x.add(k, p, now)
			if known[k] == 0 {
				known[k] = p
			}
			if p.sequence() != uint64(n/5+1) || p.number() != n%5 {
				t.Fatalf("place %d/%d", p.sequence(), p.number())
			}
		}
		for k, p := range known {
			if got := x.find(k); got != p {
				t.Fatalf("%v is at %d, want %d", k, got, p)
			}
		}
		if x.len() != len(known) {
			t.Fatalf("%d ids, want %d", x.len(), len(known))
		}
	})
}

func TestClaimsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 20, 255)
		claims := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Claim {
			return Claim{
				Key: Key{rapid.Uint64().Draw(t, "high"), rapid.Uint64().Draw(t, "low")}, Fingerprint: rapid.Uint64().Draw(t, "fingerprint"),
				Owner: text.Draw(t, "owner"), Profile: text.Draw(t, "profile"),
			}
		}), 0, 5).Draw(t, "claims")
		data := encode(claims)
		got, err := decode(data)
		if err != nil || !slices.Equal(got, claims) {
			t.Fatalf("%v, %v; want %v", got, err, claims)
		}
		if len(claims) > 0 {
			if _, err := decode(data[:len(data)-1]); err == nil {
				t.Fatal("a claim that is cut off was read")
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Add(encode([]Claim{{Key: KeyOf("a"), Owner: "x/1", Profile: "p"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if claims, err := decode(data); err == nil && string(encode(claims)) != string(data) {
			t.Errorf("%x is read as %v", data, claims)
		}
	})
}
