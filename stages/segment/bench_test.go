package segment

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// The baselines get the counts of the windows ready made, and don't say until when the answer holds.
const (
	sixPredicates = `count("Product Viewed", {"category": "sneakers"}, "24h") >= 2 && !did("Order Completed", "7d") && ` +
		`trait("plan") == "pro" && customer.clv > 20 && consent("email") && customer.orders >= 1`
	sixPlain = `views >= 2 && orders7 == 0 && plan == "pro" && clv > 20.0 && email && orders >= 1`
)

func sixInputs() map[string]any {
	return map[string]any{"views": 2, "orders7": 0, "plan": "pro", "clv": 40.0, "email": true, "orders": 1}
}

func celProgram(b *testing.B, text string, sample map[string]any) cel.Program {
	b.Helper()
	var opts []cel.EnvOption
	for name, v := range sample {
		switch v.(type) {
		case int:
			opts = append(opts, cel.Variable(name, cel.IntType))
		case float64:
			opts = append(opts, cel.Variable(name, cel.DoubleType))
		case bool:
			opts = append(opts, cel.Variable(name, cel.BoolType))
		default:
			opts = append(opts, cel.Variable(name, cel.StringType))
		}
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		b.Fatal(err)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		b.Fatal(issues.Err())
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		b.Fatal(err)
	}
	return program
}

func exprProgram(b *testing.B, text string, sample map[string]any) *vm.Program {
	b.Helper()
	program, err := expr.Compile(text, expr.Env(sample), expr.AsBool())
	if err != nil {
		b.Fatal(err)
	}
	return program
}

// One rule of six predicates, two of them windows, asked again and again.
func BenchmarkSixPredicates(b *testing.B) {
	c, err := rule.NewCompiler()
	if err != nil {
		b.Fatal(err)
	}
	r, err := c.Compile(sixPredicates)
	if err != nil {
		b.Fatal(err)
	}
	p := profile.New("u1")
	p.Now = start
	for i := range event.Instant(3) {
		e := track("Product Viewed", -i*hour, 0, `{"category":"sneakers"}`)
		rule.NewLeafSet(r).Record(p, &e)
	}
	e := track("Order Completed", -200*hour, 0, ``)
	rule.NewLeafSet(r).Record(p, &e)
	for i := range 30 { // a customer of whom more is known
		if p.Traits == nil {
			p.Traits = map[string]profile.Trait{}
		}
		p.Traits[fmt.Sprintf("trait-%d", i)] = profile.Trait{Value: event.Object(`"x"`)}
	}
	p.Traits["plan"] = profile.Trait{Value: event.Object(`"pro"`)}
	p.Consents = map[string]profile.Consent{"email": {Granted: true}}
	p.Scores.CLV, p.Orders.Count = 40*event.MoneyUnit, 1
	b.Run("attune", func(b *testing.B) {
		in := rule.Input{Profile: p, Now: start}
		b.ReportAllocs()
		for b.Loop() {
			if ok, _ := r.Eval(in); !ok {
				b.Fatal("the rule must hold, or not all of it is measured")
			}
		}
	})
	b.Run("cel", func(b *testing.B) {
		program, in := celProgram(b, sixPlain, sixInputs()), sixInputs()
		b.ReportAllocs()
		for b.Loop() {
			if ok, _, err := program.Eval(in); err != nil || ok.Value() != true {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("expr", func(b *testing.B) {
		program, in := exprProgram(b, sixPlain, sixInputs()), sixInputs()
		var machine vm.VM
		b.ReportAllocs()
		for b.Loop() {
			if ok, err := machine.Run(program, in); err != nil || ok != true {
				b.Fatal(ok, err)
			}
		}
	})
}

const (
	benchFields   = 80 // the first half hold words, the others numbers
	benchProducts = 100
)

// benchRules are random: 2 to 5 predicates over the fields and products, one in so many rules of any of them instead of
// all (0: none), and the same without windows for the baselines.
func benchRules(n, either int) (defs []Definition, plain []string) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		var ours, theirs []string
		for range 2 + random.IntN(4) {
			field, not := random.IntN(benchFields), ""
			if random.IntN(4) == 0 {
				not = "!"
			}
			switch {
			case random.IntN(2) == 0:
				product, window, count := random.IntN(benchProducts), []string{"24h", "7d", "30d"}[random.IntN(3)], 1+random.IntN(3)
				ours = append(ours, fmt.Sprintf(`%s(count("Product Viewed", {"product_id": "p%d"}, %q) >= %d)`, not, product, window, count))
				theirs = append(theirs, fmt.Sprintf(`%s(p%d >= %d)`, not, product, count))
			case field < benchFields/2:
				word := random.IntN(8)
				ours = append(ours, fmt.Sprintf(`%s(trait("f%d") == "v%d")`, not, field, word))
				theirs = append(theirs, fmt.Sprintf(`%s(f%d == "v%d")`, not, field, word))
			default:
				op, limit := []string{">", "<", ">=", "<="}[random.IntN(4)], random.IntN(100)
				ours = append(ours, fmt.Sprintf(`%s(trait("f%d") %s %d)`, not, field, op, limit))
				theirs = append(theirs, fmt.Sprintf(`%s(f%d %s %d)`, not, field, op, limit))
			}
		}
		and := " && "
		if either > 0 && random.IntN(either) == 0 {
			and = " || "
		}
		defs = append(defs, Definition{ID: fmt.Sprintf("segment-%d", i), When: strings.Join(ours, and)})
		plain = append(plain, strings.Join(theirs, and))
	}
	return defs, plain
}

func benchValue(random *rand.Rand, field int) string {
	if field < benchFields/2 {
		return fmt.Sprintf(`"v%d"`, random.IntN(8))
	}
	return fmt.Sprint(random.IntN(100))
}

// An event that touches three fields, a product and two traits, a second after the one before: what segments that it
// concerns cost, with those steps that fall due in between. The traits are written as enrich does.
func BenchmarkSegments(b *testing.B) {
	for _, k := range []struct{ n, either int }{{1000, 0}, {10_000, 0}, {1000, 4}, {10_000, 4}} {
		b.Run(fmt.Sprintf("%d/%s", k.n, map[bool]string{true: "all", false: "quarter-any"}[k.either == 0]), func(b *testing.B) {
			defs, _ := benchRules(k.n, k.either)
			s := stage(b, defs...)
			random := rand.New(rand.NewPCG(3, 4))
			p := profile.New("u1")
			p.Traits = map[string]profile.Trait{}
			for f := range benchFields {
				p.Traits[fmt.Sprintf("f%d", f)] = profile.Trait{Value: event.Object(benchValue(random, f))}
			}
			p.Definitions, p.Applied = 1, 1
			events := make([]event.Event, 4096)
			for i := range events {
				f, g := random.IntN(benchFields), random.IntN(benchFields)
				events[i] = track("Product Viewed", 0, 0, fmt.Sprintf(`{"product_id":"p%d","price":12.5}`, random.IntN(benchProducts)))
				events[i].Traits = event.Object(fmt.Sprintf(`{"f%d":%s,"f%d":%s}`, f, benchValue(random, f), g, benchValue(random, g)))
			}
			flips, owed := 0, 0
			now := start
			step := &pipeline.Step{Profile: p, Version: 2} // asks everything once
			one := func(e *event.Event) {
				now += 1000
				for due := s.Due(p); due != 0 && due <= now; due = s.Due(p) {
					p.Now, step.Now, step.Event, step.Changes = due, due, nil, step.Changes[:0]
					step.Before = profile.Before{Profile: *p}
					s.Apply(step)
					owed++
				}
				e.Occurred, e.Accepted = now, now
				p.Now, step.Now, step.Event, step.Changes = now, now, e, step.Changes[:0]
				step.Before = profile.Remember(p, e)
				e.Traits.Fields(func(name string, v event.Value) bool {
					p.Traits[name] = profile.Trait{Value: event.Object(v.Raw())}
					return true
				})
				s.Apply(step)
				flips += len(step.Changes)
			}
			for i := range events {
				one(&events[i])
			}
			flips, owed = 0, 0
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				one(&events[i%len(events)])
				i++
			}
			b.ReportMetric(float64(flips)/float64(b.N), "flips/op")
			b.ReportMetric(float64(owed)/float64(b.N), "owed/op")
			b.ReportMetric(float64(len(p.Memberships())), "members")
			b.ReportMetric(float64(len(p.Segments)), "kept")
		})
	}
}

// What it takes to ask all of a thousand rules at each event, the counts of their windows ready made.
func BenchmarkSegmentsBaseline(b *testing.B) {
	_, plain := benchRules(1000, 0)
	random := rand.New(rand.NewPCG(3, 4))
	in := map[string]any{}
	for f := range benchFields {
		if f < benchFields/2 {
			in[fmt.Sprintf("f%d", f)] = fmt.Sprintf("v%d", random.IntN(8))
		} else {
			in[fmt.Sprintf("f%d", f)] = random.IntN(100)
		}
	}
	for p := range benchProducts {
		in[fmt.Sprintf("p%d", p)] = random.IntN(3)
	}
	b.Run("cel", func(b *testing.B) {
		programs := make([]cel.Program, len(plain))
		for i, text := range plain {
			programs[i] = celProgram(b, text, in)
		}
		b.ReportAllocs()
		for b.Loop() {
			for _, p := range programs {
				if _, _, err := p.Eval(in); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("expr", func(b *testing.B) {
		programs := make([]*vm.Program, len(plain))
		for i, text := range plain {
			programs[i] = exprProgram(b, text, in)
		}
		var machine vm.VM
		b.ReportAllocs()
		for b.Loop() {
			for _, p := range programs {
				if _, err := machine.Run(p, in); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
