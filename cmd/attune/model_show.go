package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"attune/stages/enrich/clv"
)

// modelShowCommand shows one model and its card.
type modelShowCommand struct {
	Model *uint64 `arg:"" optional:"" help:"Its number, as attune model list tells; 0 is the built-in one (default: the one in force)."`
	JSON  bool    `name:"json" help:"Print JSON."`
	target
}

// Run is the command.
func (m *modelShowCommand) Run(ctx context.Context, s streams) error {
	all, disconnect, err := m.models(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	number := all.inForce
	if m.Model != nil {
		number = *m.Model
	}
	object, err := all.model(ctx, number)
	if err != nil {
		return fmt.Errorf("model show: %w", err)
	}
	report := all.report(number, &object)
	if m.JSON {
		return printJSON(s.out, report)
	}
	if number == 0 {
		fmt.Fprintln(s.out, "Model 0: built in, of the CDNOW sample")
	}
	if err := report.printCard(s.out); err != nil {
		return err
	}
	return printParameters(s.out, object.CLV, report.InForce)
}

func printParameters(out io.Writer, m clv.Model, inForce bool) error {
	names := map[string][4]string{
		clv.NameBGNBD: {"r", "alpha", "a", "b"}, clv.NameMBGNBD: {"r", "alpha", "a", "b"}, clv.NameParetoNBD: {"r", "alpha", "s", "beta"},
	}[m.Counts.Name()]
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s:", m.Counts.Name())
	for i, v := range m.Counts.Parameters() {
		fmt.Fprintf(&b, " %s %.4g", names[i], v)
	}
	fmt.Fprintf(&b, "; gammagamma: p %.4g q %.4g v %.4g\n", m.Spend.P, m.Spend.Q, m.Spend.V)
	if inForce {
		b.WriteString("In force\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
