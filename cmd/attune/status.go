package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"attune/pipeline"
	"attune/pipeline/wake"
)

// statusCommand shows who works, and what waits.
type statusCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
	target
}

// statusTimeout bounds all questions to the broker.
const statusTimeout = 30 * time.Second

// Run is the command.
func (c *statusCommand) Run(ctx context.Context, s streams) error {
	conn, js, err := c.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	found, err := takeSurvey(ctx, js)
	if err != nil {
		return err
	}
	if c.JSON {
		out := json.NewEncoder(s.out)
		out.SetIndent("", "  ")
		return out.Encode(found)
	}
	return found.print(s.out)
}

func (s *survey) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	s.printWorkers(w)
	s.printTotals(w)
	s.printPartitions(w)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nDead letters %d, wake-ups pending %d\n", s.DeadLetters, s.WakeUpsPending)
	if s.Rollout != nil {
		fmt.Fprintf(out, "Definitions, staged version %d: %s\n", s.Rollout.Version, progressLine(*s.Rollout))
	}
	for _, a := range s.Alarms {
		fmt.Fprintf(out, "! %s\n", a)
	}
	return nil
}

func (s *survey) printWorkers(w io.Writer) {
	fmt.Fprintln(w, "WORKER\tHOST\tPID\tLISTEN\tUP\tOWNS")
	for _, x := range s.Workers {
		var owns []string
		for _, part := range parts() {
			if topics, runs := x.Owns[part.name]; runs && len(topics) > 0 {
				owns = append(owns, fmt.Sprintf("%s %d", part.name, len(topics)))
			} else if runs {
				owns = append(owns, part.name)
			}
		}
		if x.Leaving {
			owns = append(owns, "(leaving)")
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", x.ID, x.Host, x.PID, x.Listen, elapsed(s.At.Sub(x.Started)), strings.Join(owns, ", "))
	}
	fmt.Fprintln(w)
}

// printTotals has a line for each kind of reader, over all its topics.
func (s *survey) printTotals(w io.Writer) {
	fmt.Fprintln(w, "READER\tCHAIN\tOWNED\tLAG\tPER SECOND\tOLDEST\tUNFOLDED COMMITS")
	type total struct {
		readerStatus
		topics, owned int
	}
	totals := map[string]*total{}
	var order []*total
	for _, r := range s.Readers {
		t := totals[r.Reader]
		if t == nil {
			t = &total{readerStatus: readerStatus{Chain: r.Chain, Reader: r.Reader}}
			totals[r.Reader] = t
			order = append(order, t)
		}
		t.topics++
		if r.Owner != "" {
			t.owned++
		}
		t.Lag, t.Rate, t.Oldest, t.Tail = t.Lag+r.Lag, t.Rate+r.Rate, max(t.Oldest, r.Oldest), t.Tail+r.Tail
	}
	for _, t := range order {
		unfolded := ""
		if t.Reader == pipeline.ReaderCustomer {
			unfolded = fmt.Sprint(t.Tail)
		}
		fmt.Fprintf(w, "%s\t%s\t%d of %d\t%d\t%.0f\t%s\t%s\n", t.Reader, t.Chain, t.owned, t.topics, t.Lag, t.Rate, age(t.Oldest), unfolded)
	}
	fmt.Fprintln(w)
}

// printPartitions has a line for each partition, with the lag of each of its readers; then the destinations.
func (s *survey) printPartitions(w io.Writer) {
	by := map[[2]string]*readerStatus{} // by topic and reader
	var partitions, destinations []string
	for _, r := range s.Readers {
		by[[2]string{r.Topic, r.Reader}] = r
		switch r.Reader {
		case pipeline.ReaderNormalize:
			partitions = append(partitions, r.Topic)
		case pipeline.ReaderDeliver:
			destinations = append(destinations, r.Topic)
		}
	}
	fmt.Fprintln(w, "PARTITION\tNORMALIZED BY\tLAG\tOLDEST\tCUSTOMERS BY\tLAG\tPER SECOND\tOLDEST\tRELAY LAG\tWAKE LAG\tUNFOLDED COMMITS")
	for _, p := range partitions {
		normalize, customer := by[[2]string{p, pipeline.ReaderNormalize}], by[[2]string{p, pipeline.ReaderCustomer}]
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%.0f\t%s\t%d\t%d\t%d\n", p, owner(normalize), normalize.Lag, age(normalize.Oldest),
			owner(customer), customer.Lag, customer.Rate, age(customer.Oldest),
			by[[2]string{p, pipeline.ReaderRelay}].Lag, by[[2]string{p, wake.Reader}].Lag, customer.Tail)
	}
	if len(destinations) == 0 {
		return
	}
	fmt.Fprintln(w, "\nDESTINATION\tDELIVERED BY\tLAG\tOLDEST")
	for _, d := range destinations {
		r := by[[2]string{d, pipeline.ReaderDeliver}]
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", d, owner(r), r.Lag, age(r.Oldest))
	}
}

func owner(r *readerStatus) string {
	if r.Owner == "" {
		return "nobody"
	}
	return r.Owner
}

// age is how long something has been waiting; nothing waits: a dash.
func age(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return elapsed(time.Duration(seconds * float64(time.Second)))
}

// elapsed is a time as people say it, in its two largest units.
func elapsed(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	case d >= time.Second:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}
