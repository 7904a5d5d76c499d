package profile_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func instants() *rapid.Generator[event.Instant] {
	return rapid.Custom(func(t *rapid.T) event.Instant { return event.Instant(rapid.Int64().Draw(t, "instant")) })
}

func amounts() *rapid.Generator[event.Money] {
	return rapid.Custom(func(t *rapid.T) event.Money { return event.Money(rapid.Int64().Draw(t, "money")) })
}

func objects() *rapid.Generator[event.Object] {
	return rapid.SampledFrom([]event.Object{nil, event.Object(`{"a":1.50,"b":"<ü>"}`), event.Object(`"x"`), event.Object(`null`), event.Object(`[1]`)})
}

func names() *rapid.Generator[string] {
	return rapid.StringMatching(`[a-z é<"]{0,8}`)
}

func days() *rapid.Generator[[]profile.Day] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Day {
		return profile.Day{Day: rapid.Int32().Draw(t, "day"), Spent: amounts().Draw(t, "spent")}
	}), 0, 5)
}

func leanings(t *rapid.T, p *profile.Profile) {
	for _, d := range profile.Dimensions() {
		p.Leanings[d] = profile.Leaning{
			Weights: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Weight {
				return profile.Weight{Name: names().Draw(t, "name"), Sum: profile.Decayed(rapid.Float64().Draw(t, "sum"))}
			}), 0, 4).Draw(t, d.String()),
			Rest: profile.Decayed(rapid.Float64Range(0, 1e300).Draw(t, "rest")),
		}
	}
}

// profiles draws any profile that the type can hold, in or out of the bounds that the stages keep.
func profiles() *rapid.Generator[*profile.Profile] {
	at, money := instants(), amounts()
	return rapid.Custom(func(t *rapid.T) *profile.Profile {
		p := &profile.Profile{
			ID: rapid.StringN(1, 8, -1).Draw(t, "id"), Now: at.Draw(t, "now"), Applied: rapid.Uint64().Draw(t, "applied"),
			First: at.Draw(t, "first"), Last: at.Draw(t, "last"),
			Traits: rapid.MapOfN(names(), rapid.Custom(func(t *rapid.T) profile.Trait {
				return profile.Trait{Value: objects().Draw(t, "value"), At: at.Draw(t, "at")}
			}), 0, 6).Draw(t, "traits"),
			Consents: rapid.MapOfN(names(), rapid.Custom(func(t *rapid.T) profile.Consent {
				return profile.Consent{Granted: rapid.Bool().Draw(t, "granted"), At: at.Draw(t, "at")}
			}), 0, 3).Draw(t, "consents"),
			Activities: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Activity {
				return profile.Activity{
					Name: names().Draw(t, "name"), Count: rapid.Uint64().Draw(t, "count"), Sum: money.Draw(t, "sum"),
					First: at.Draw(t, "first"), Last: at.Draw(t, "last"),
				}
			}), 0, 6).Draw(t, "activities"),
			Orders: profile.Orders{
				Count: rapid.Uint64().Draw(t, "orders"), Refunds: rapid.Uint64().Draw(t, "refunds"),
				Revenue: money.Draw(t, "revenue"), Refunded: money.Draw(t, "refunded"),
				First: at.Draw(t, "first order"), Last: at.Draw(t, "last order"),
				Days: days().Draw(t, "days"), RefundDays: days().Draw(t, "refund days"),
				Currencies: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Currency {
					return profile.Currency{
						Code: names().Draw(t, "code"), Orders: rapid.Uint64().Draw(t, "orders"), Refunds: rapid.Uint64().Draw(t, "refunds"),
						Revenue: money.Draw(t, "revenue"), Refunded: money.Draw(t, "refunded"),
					}
				}), 0, 3).Draw(t, "currencies"),
			},
			Viewed: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.View {
				return profile.View{Product: names().Draw(t, "product"), At: at.Draw(t, "at")}
			}), 0, 4).Draw(t, "viewed"),
			Bought: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.View {
				return profile.View{Product: names().Draw(t, "product"), At: at.Draw(t, "at")}
			}), 0, 4).Draw(t, "bought"),
			Cart: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.CartChange {
				return profile.CartChange{
					At: at.Draw(t, "at"), Product: names().Draw(t, "product"), Quantity: rapid.Int64().Draw(t, "quantity"), Price: money.Draw(t, "price"),
				}
			}), 0, 4).Draw(t, "cart"),
			Zone: profile.Zone{Name: names().Draw(t, "zone"), At: at.Draw(t, "said")},
			Standing: profile.Standing{
				Lifecycle: rapid.SampledFrom(profile.Lifecycles()).Draw(t, "lifecycle"), Tier: names().Draw(t, "tier"), Until: at.Draw(t, "until"),
			},
			Scores: profile.Scores{
				CLV: money.Draw(t, "clv"), Alive: rapid.Float64().Draw(t, "alive"), Confidence: rapid.Float64().Draw(t, "sure"),
				Scored: at.Draw(t, "scored"), Next: at.Draw(t, "next"),
			},
			Propensities: profile.Propensities{
				At: at.Draw(t, "foretold"), Next: at.Draw(t, "next foretold"),
				Scores: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Propensity {
					return profile.Propensity{Name: names().Draw(t, "name"), Value: rapid.Float64().Draw(t, "value"), Confidence: rapid.Float64().Draw(t, "confidence")}
				}), 0, 3).Draw(t, "propensities"),
			},
			Windows: rapid.MapOfN(rapid.Uint64(), rapid.SliceOfN(at, 1, 4), 0, 4).Draw(t, "windows"),
			Segments: rapid.MapOfN(names(), rapid.Custom(func(t *rapid.T) profile.Membership {
				return profile.Membership{In: rapid.Bool().Draw(t, "in"), Since: at.Draw(t, "since"), Until: at.Draw(t, "until")}
			}), 0, 4).Draw(t, "segments"),
			Definitions: rapid.Uint64().Draw(t, "definitions"),
			Waits: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Wait {
				return profile.Wait{
					Campaign: names().Draw(t, "campaign"), Key: names().Draw(t, "key"), Due: at.Draw(t, "due"),
					Cause: names().Draw(t, "cause"), Position: rapid.Uint64().Draw(t, "position"),
					Properties: objects().Draw(t, "properties"), Name: names().Draw(t, "name"), Occurred: at.Draw(t, "occurred"),
					Trace: names().Draw(t, "trace"), Held: rapid.Bool().Draw(t, "held"), Since: at.Draw(t, "since"),
				}
			}), 0, 3).Draw(t, "waits"),
			Sends: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Send {
				return profile.Send{Decision: names().Draw(t, "decision"), Campaign: names().Draw(t, "campaign"), At: at.Draw(t, "at")}
			}), 0, 3).Draw(t, "sends"),
			Armed: at.Draw(t, "armed"),
			Kept: rapid.MapOfN(rapid.Uint64(), rapid.Custom(func(t *rapid.T) *profile.Kept {
				return &profile.Kept{
					Entries: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Entry {
						return profile.Entry{At: at.Draw(t, "at"), Number: rapid.Int64().Draw(t, "number"), Value: objects().Draw(t, "value")}
					}), 0, 3).Draw(t, "entries"),
					Count: rapid.Uint64().Draw(t, "count"), Sum: profile.Sum{High: rapid.Int64().Draw(t, "high"), Low: rapid.Uint64().Draw(t, "low")},
				}
			}), 0, 3).Draw(t, "kept"),
		}
		p.SegmentsDue = p.EarliestUntil()
		p.Left = rapid.Uint64().Draw(t, "left")
		if rapid.Bool().Draw(t, "staged") {
			p.Next = &profile.Next{
				Version: rapid.Uint64Min(1).Draw(t, "version"), Since: rapid.Uint64().Draw(t, "since"), Read: rapid.Uint64().Draw(t, "read"),
				Filled: rapid.Bool().Draw(t, "filled"), Definitions: rapid.Uint64().Draw(t, "judged"), SegmentsDue: at.Draw(t, "due"),
				Windows: p.Windows, Kept: p.Kept, Segments: p.Segments,
			}
			for _, id := range rapid.SliceOfN(rapid.StringMatching("[a-z]{1,3}"), 0, 3).Draw(t, "losers") {
				p.Next.SetPart(profile.Part{ID: id, Since: rapid.Uint64().Draw(t, "kept since"), Read: rapid.Uint64().Draw(t, "read up to")})
			}
		}
		return p
	})
}

// What is stored is what comes back, and what comes back is stored as the same bytes: a profile that nobody
// touched must not look changed.
func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := profiles().Draw(t, "profile")
		leanings(t, want)
		data := profile.Encode(want)
		got, err := profile.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("decoded profile differs (-want +got):\n%s", diff)
		}
		again := profile.Encode(got)
		if !bytes.Equal(data, again) {
			t.Fatalf("encoded again:\n%x\nwant\n%x", again, data)
		}
	})
}

// The same facts give the same bytes whatever the order in which maps were filled.
func TestCodecIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(names(), 2, 20, rapid.ID).Draw(t, "keys")
		shuffled := rapid.Permutation(keys).Draw(t, "shuffled")
		a := profile.Encode(filled(keys))
		b := profile.Encode(filled(shuffled))
		if !bytes.Equal(a, b) {
			t.Fatalf("keys in order %q and %q give different bytes", keys, shuffled)
		}
	})
}

func filled(keys []string) *profile.Profile {
	p := profile.New("p")
	p.Traits, p.Consents = map[string]profile.Trait{}, map[string]profile.Consent{}
	p.Segments, p.Windows = map[string]profile.Membership{}, map[uint64][]event.Instant{}
	for _, k := range keys {
		n := uint64(len(k)) * 7
		p.Traits[k] = profile.Trait{Value: event.Object(fmt.Sprintf("%q", k)), At: 5}
		p.Consents[k] = profile.Consent{Granted: len(k)%2 == 0, At: 6}
		p.Happens(k).At(event.Instant(n), 10)
		for _, d := range profile.Dimensions() {
			p.Lean(d, k, profile.Decayed(n))
		}
		p.Segments[k] = profile.Membership{In: true, Since: 3}
		p.Windows[n] = []event.Instant{9, 8}
	}
	return p
}

// The bytes are a stored format: profiles written by this version must stay readable, field by field.
func TestCodecFormatIsStable(t *testing.T) {
	p := &profile.Profile{
		ID: "p1", Now: 1000, Applied: 7, First: 1, Last: 2,
		Traits:     map[string]profile.Trait{"plan": {Value: event.Object(`"pro"`), At: 3}},
		Consents:   map[string]profile.Consent{"email": {Granted: true, At: 4}},
		Activities: []profile.Activity{{Name: "A", Count: 2}},
		Orders:     profile.Orders{Count: 1, Revenue: 125000, First: 5, Last: 5, Days: []profile.Day{{Day: 1, Spent: 125000}}},
		Scores:     profile.Scores{CLV: 10, Alive: 0.5, Scored: 6, Next: 7},
	}
	data := profile.Encode(p)
	const want = "0a027031" + "10d00f" + "1807" + "2002" + "2804" + // id, now, applied, first, last
		"320f" + "0a04706c616e" + "12052270726f22" + "1806" + // trait
		"3a0b" + "0a05656d61696c" + "1001" + "1808" + // consent
		"4205" + "0a0141" + "1002" + // count
		"4a10" + "0801" + "1890a10f" + "280a" + "300a" + "3a04" + "0290a10f" + // orders
		"520f" + "0814" + "11000000000000e03f" + "180c" + "200e" // scores
	if got := fmt.Sprintf("%x", data); got != want {
		t.Errorf("stored bytes changed; profiles of earlier versions must stay readable\n got %s\nwant %s", got, want)
	}
}

func TestDecodeRefusesRubbish(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty":                nil,
		"no id":                {0x18, 0x07},
		"half a tag":           {0x80},
		"cut short":            {0x0a, 0x05, 'p'},
		"an endless number":    {0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"half an entry":        {0x32, 0x02, 0x0a, 0x09},
		"kept state of later":  {0xc2, 0x02, 0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x02},
		"half an entry kept":   {0xc2, 0x02, 0x0c, 1, 2, 3, 4, 5, 6, 7, 8, 0x01, 0x22, 0x01, 0x80},
		"a window without id":  {0x5a, 0x01, 0x00},
		"a day without amount": {0x4a, 0x03, 0x3a, 0x01, 0x02},
		"an end of a group":    {0x0c},
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := profile.Decode(data); err == nil {
				t.Errorf("decoded %x as %+v, want an error", data, p)
			} else if !strings.HasPrefix(err.Error(), "decode profile: ") {
				t.Errorf("error %q does not name the operation", err)
			}
		})
	}
}

// A field that a later version has added is passed over.
func TestDecodePassesOverUnknownFields(t *testing.T) {
	p, err := profile.Decode([]byte{0xfa, 0x01, 0x02, 'x', 'y', 0x0a, 0x01, 'p', 0xf9, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 0x18, 0x07})
	if err != nil || p.ID != "p" || p.Applied != 7 {
		t.Errorf("decoded %+v, %v", p, err)
	}
}

func FuzzDecode(f *testing.F) {
	data := profile.Encode(filled([]string{"a", "b", "c"}))
	f.Add(data)
	f.Add([]byte{0xfa, 0x01, 0x02, 'x', 'y', 0x0a, 0x01, 'p', 0x18, 0x07}) // a field that this version doesn't know
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := profile.Decode(data)
		if err != nil {
			return
		}
		once := profile.Encode(p)
		q, err := profile.Decode(once)
		if err != nil {
			t.Fatalf("cannot read back what was written: %v", err)
		}
		if twice := profile.Encode(q); !bytes.Equal(once, twice) {
			t.Fatalf("encoding is not stable:\n%x\n%x", once, twice)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	p := filled([]string{"Product Viewed", "Product Added", "Order Completed", "page:Home", "screen:Cart"})
	data := profile.Encode(p)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = profile.Encode(p)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = profile.Decode(data)
		}
	})
}

func TestMemberships(t *testing.T) {
	p := profile.New("p")
	if got := p.Memberships(); got == nil || len(got) != 0 {
		t.Errorf("memberships of a new profile: %#v, want an empty list that is not nil", got)
	}
	p.Segments = map[string]profile.Membership{"b": {In: true}, "out": {Until: 9}, "a": {In: true}}
	if got, want := p.Memberships(), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("memberships %v, want %v", got, want)
	}
	if !p.In("a") || p.In("out") || p.In("never") {
		t.Error("In disagrees with the memberships")
	}
}
