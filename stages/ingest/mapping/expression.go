package mapping

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/itchyny/gojq"
)

// expression is one compiled jq filter.
type expression struct {
	code  *gojq.Code
	field string
	at    place
}

// maxExpression bounds an expression's text, in bytes: what a few doublings of a value can make of it.
const maxExpression = 16 << 10

// expression compiles jq that stands at n, with the variables that are known there.
func (d *decoder) expression(text source, field string, variables []string) *expression {
	if len(text.text) > maxExpression {
		d.fail(text.at(0), field, fmt.Sprintf("the expression is longer than %d bytes", maxExpression), "")
		return nil
	}
	query, err := gojq.Parse(text.text)
	if err != nil {
		var p *gojq.ParseError
		offset := 0
		if errors.As(err, &p) {
			offset = max(p.Offset-len(p.Token), 0)
		}
		d.fail(text.at(offset), field, err.Error(), "the expression is jq: .customer.id, \"constant text\", [.items[].sku]")
		return nil
	}
	sound := true
	c := &check{known: d.functions, refused: func(name, what, hint string) {
		sound = false
		d.fail(text.at(max(strings.Index(text.text, name), 0)), field, what, hint)
	}}
	c.query(query)
	if !sound {
		return nil
	}
	code, err := gojq.Compile(query, append(d.own, gojq.WithVariables(variables))...)
	if err != nil {
		offset, hint := 0, ""
		what := err.Error()
		if _, name, ok := strings.Cut(what, "not defined: "); ok {
			name, _, _ = strings.Cut(name, "/")
			offset = max(strings.Index(text.text, name), 0)
			if strings.HasPrefix(name, "$") {
				hint = nearest(name, variables)
			}
		}
		d.fail(text.at(offset), field, what, hint)
		return nil
	}
	return &expression{code: code, field: field, at: text.at(0)}
}

// fuel is a context that ends after a number of steps: the same payload is always mapped or never, however busy the
// machine is. The deadline of the context around it ends a single long step's successor.
type fuel struct {
	context.Context
	left  int
	empty chan struct{}
}

// Steps that a payload may take, in all its expressions together. An honest mapping takes some dozens a value, and a
// value has two bytes or more.
const (
	baseSteps = 100_000
	byteSteps = 16
)

func newFuel(ctx context.Context, bytes int) *fuel {
	f := &fuel{Context: ctx, left: baseSteps + byteSteps*bytes, empty: make(chan struct{})}
	close(f.empty)
	return f
}

// Done is asked before each step.
func (f *fuel) Done() <-chan struct{} {
	if f.left--; f.left < 0 {
		return f.empty
	}
	return f.Context.Done()
}

// Err says why it is over.
func (f *fuel) Err() error {
	if f.left < 0 {
		return errSteps
	}
	return f.Context.Err()
}

var errSteps = errors.New("the mapping takes too many steps for a payload of this size")

// run evaluates an expression that should give one value; nothing is null.
func (e *expression) run(f *fuel, input any, variables []any) (any, *Problem) {
	iter := e.code.RunWithContext(f, input, variables...)
	v, ok := iter.Next()
	if !ok {
		return nil, nil
	}
	if err, failed := v.(error); failed {
		return nil, e.failed(f, err)
	}
	if second, more := iter.Next(); more {
		if err, failed := second.(error); failed {
			return nil, e.failed(f, err)
		}
		return nil, e.wrong("it gives more than one value", "collect them in an array: [ … ], or take first( … )")
	}
	return v, nil
}

// each evaluates an expression that gives any number of values.
func (e *expression) each(f *fuel, input any, variables []any, visit func(v any) *Problem) *Problem {
	iter := e.code.RunWithContext(f, input, variables...)
	for {
		v, ok := iter.Next()
		if !ok {
			return nil
		}
		if err, failed := v.(error); failed {
			return e.failed(f, err)
		}
		if p := visit(v); p != nil {
			return p
		}
	}
}

func (e *expression) wrong(what, hint string) *Problem {
	return &Problem{Reason: ReasonFailed, Item: -1, Line: e.at.line, Field: e.field, What: what, Hint: hint}
}

// failed tells jq's error without the values in it.
func (e *expression) failed(f *fuel, err error) *Problem {
	if f.Err() != nil {
		p := e.wrong(f.Err().Error(), "does one part of it go through all of another?")
		p.Reason = ReasonTooSlow
		return p
	}
	p := e.wrong(withoutValues(err.Error()), "")
	if said := err.Error(); said != p.What {
		p.Detail = said
	}
	return p
}

// withoutValues keeps of jq's error what comes before its first value.
func withoutValues(message string) string {
	if i := strings.IndexAny(message, "(\"`'0123456789[{"); i >= 0 {
		message = message[:i]
	}
	if message = strings.TrimRight(message, " :"); message == "" {
		return "it can't be computed"
	}
	return message
}
