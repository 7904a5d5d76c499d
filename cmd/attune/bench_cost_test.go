package main

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"attune/config"
)

// profileCost is the CPU time of an event with a million profiles in memory, against ten thousand.
func profileCost(tb testing.TB, s scale) func() (figure, figure) {
	return costs(tb, s,
		openCustomers(tb, s, exampleWorkspace(tb), 1_000_000),
		openCustomers(tb, s, exampleWorkspace(tb), 10_000))
}

// campaignCost is the CPU time of an event with a hundred campaigns more that wait for another one.
func campaignCost(tb testing.TB, s scale) func() (figure, figure) {
	return costs(tb, s,
		openCustomers(tb, s, crowdedWorkspace(tb, 100), 10_000),
		openCustomers(tb, s, exampleWorkspace(tb), 10_000))
}

// costEvents is how many events share what a run begins with: the collection that the watch forces has the broker drop the
// blocks of its bucket, which it reads again, as after each of its own rounds. With a million profiles there is a round of
// its own for some 600,000 events: three times the 2.3 GB in use, at 11 KB an event.
const costEvents = 400_000

// costs compares the CPU time per event of two worlds, both of them warm, folding included.
func costs(tb testing.TB, s scale, more, less *customers) func() (figure, figure) {
	measure := func(c *customers) func() figure {
		f := newFeed(c.population, zipf)
		c.start(len(c.population.ids))
		c.warm(f)
		return func() figure {
			c.gate.close()
			got := c.run(c.fill(f, s.of(costEvents)))
			return figure{value: got.cpu, cpu: got.cpu}
		}
	}
	with, without := measure(more), measure(less)
	var turns turns
	return func() (figure, figure) { return turns.run(with, without) }
}

// crowdedWorkspace is the example with so many campaigns more.
func crowdedWorkspace(tb testing.TB, campaigns int) *config.Workspace {
	files := fstest.MapFS{}
	example := config.ExampleFiles()
	err := fs.WalkDir(example, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(example, path)
		files[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range campaigns {
		files[fmt.Sprintf("campaigns/idle-%d.yaml", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, `
id: idle-%d
on: {event: "Wishlist Shared %d"}
audience: customer.clv > %d
send: {destination: mail, from: "Example Shop <hello@shop.example>", subject: "Your wishlist", template: cart}
`, i, i, i)}
	}
	workspace, err := config.LoadWorkspace(files)
	if err != nil {
		tb.Fatal(err)
	}
	return workspace
}
