package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/stages/trigger/recommend"
)

// stockCommand says which products are out of stock.
type stockCommand struct {
	Out  stockOutCommand  `cmd:"" help:"Say that products are out of stock: no mail recommends them."`
	In   stockInCommand   `cmd:"" help:"Say that products are back in stock."`
	Set  stockSetCommand  `cmd:"" help:"Say from a file which products are out of stock; all others are in stock."`
	List stockListCommand `cmd:"" help:"Show which products are out of stock."`
}

// stockOutCommand adds to those out of stock.
type stockOutCommand struct {
	Products []string `arg:"" name:"sku" help:"Ids of products, as orders have them in product_id, or else in sku."`
	target
}

// Run is the command.
func (c *stockOutCommand) Run(ctx context.Context, s streams) error {
	return c.tellStock(ctx, s, c.Products, func(out recommend.OutOfStock) recommend.OutOfStock { return out.With(c.Products...) })
}

// stockInCommand takes from those out of stock.
type stockInCommand struct {
	Products []string `arg:"" name:"sku" help:"Ids of products, as attune stock list shows them."`
	target
}

// Run is the command.
func (c *stockInCommand) Run(ctx context.Context, s streams) error {
	var others []string
	err := c.tellStock(ctx, s, nil, func(out recommend.OutOfStock) recommend.OutOfStock {
		others = slices.DeleteFunc(slices.Clone(c.Products), out.Has)
		return out.Without(c.Products...)
	})
	if err == nil && len(others) > 0 {
		fmt.Fprintf(s.err, "not out of stock anyhow: %s\n", someOf(others))
	}
	return err
}

// stockSetCommand replaces those out of stock.
type stockSetCommand struct {
	File   string `required:"" placeholder:"FILE" help:"One id a line, or a CSV whose first line names the columns (and nothing else: all are in stock); .gz too; - is standard input."`
	Column string `placeholder:"NAME" help:"The CSV's column with the ids (default: product_id, or else sku)."`
	target
}

// Run is the command.
func (c *stockSetCommand) Run(ctx context.Context, s streams) error {
	ids, err := readIDs(c.File, c.Column, s)
	if err != nil {
		return fmt.Errorf("stock set: %w", err)
	}
	return c.tellStock(ctx, s, ids, func(recommend.OutOfStock) recommend.OutOfStock { return recommend.OutOfStock(nil).With(ids...) })
}

// stockListCommand shows those out of stock.
type stockListCommand struct {
	JSON bool `name:"json" help:"Print JSON, with the version and since when it is in force."`
	target
}

// stockReport is what --json prints.
type stockReport struct {
	Version    uint64               `json:"version"` // 0: nothing was ever told
	Since      time.Time            `json:"since,omitzero"`
	OutOfStock recommend.OutOfStock `json:"out_of_stock"`
}

// Run is the command.
func (l *stockListCommand) Run(ctx context.Context, s streams) error {
	store, disconnect, err := l.control(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	record, err := store.Newest(ctx, pipeline.KindStock)
	if err != nil {
		return err
	}
	out, err := readStock(ctx, store, record)
	if err != nil {
		return err
	}
	if l.JSON {
		since, err := store.Since(ctx, pipeline.KindStock)
		if err != nil {
			return err
		}
		return printJSON(s.out, stockReport{record.Version, since.UTC(), append(recommend.OutOfStock{}, out...)})
	}
	for _, id := range out {
		fmt.Fprintln(s.out, id)
	}
	fmt.Fprintf(s.err, "%d out of stock\n", len(out))
	return nil
}

// tellStock brings in force what change makes of the products out of stock, and says so; and which of the named ones nobody
// recommends.
func (t *target) tellStock(ctx context.Context, s streams, named []string, change func(recommend.OutOfStock) recommend.OutOfStock) error {
	for _, id := range named {
		if err := recommend.ValidateID(id); err != nil {
			return fmt.Errorf("stock: %w", err)
		}
	}
	store, disconnect, err := t.control(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	var before, after recommend.OutOfStock
	record, changed, err := store.Change(ctx, pipeline.KindStock, time.Now(), func(object []byte) (_ []byte, err error) {
		if before = nil; object != nil {
			if before, err = recommend.DecodeOutOfStock(object); err != nil {
				return nil, err
			}
		}
		after = change(before)
		return after.Encode()
	})
	if err != nil {
		return fmt.Errorf("stock: %w", err)
	}
	if !changed {
		fmt.Fprintf(s.out, "nothing changed: %d out of stock\n", len(after))
	} else {
		gone, back := len(after.Without(before...)), len(before.Without(after...))
		fmt.Fprintf(s.out, "%d out of stock (%d more, %d back), version %d: mails that are ordered from now on obey\n", len(after), gone, back, record.Version)
	}
	return warnUnknown(ctx, s, store, named)
}

// warnUnknown says which products are not among those that the model in force recommends: maybe somebody mistyped.
func warnUnknown(ctx context.Context, s streams, store *control.Store, ids []string) error {
	object, number, err := modelInForce(ctx, store)
	if err != nil || object.Products == nil || len(ids) == 0 {
		return err
	}
	model, err := readProducts(ctx, store, object.Products.Model)
	if err != nil {
		return err
	}
	var unknown []string
	for _, id := range ids {
		if !model.Knows(id) {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		fmt.Fprintf(s.err, "model %d does not recommend these anyhow (mistyped, or hardly ever bought): %s\n", number, someOf(unknown))
	}
	return nil
}

// someOf lists the first of some ids.
func someOf(ids []string) string {
	const most = 10
	if len(ids) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:most], ", "), len(ids)-most)
	}
	return strings.Join(ids, ", ")
}

// readStock reads a control record's object; without a record everything is in stock.
func readStock(ctx context.Context, store *control.Store, record event.ControlRecord) (recommend.OutOfStock, error) {
	if record.Version == 0 {
		return nil, nil
	}
	object, err := store.Object(ctx, record.Hash)
	if err != nil {
		return nil, err
	}
	return recommend.DecodeOutOfStock(object)
}

// readIDs reads a file of ids: one a line, or those of a CSV's column.
func readIDs(file, column string, s streams) (ids []string, err error) {
	table, err := openTable(file, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, table.close()) }()
	at, err := table.column(column)
	if column == "" {
		if at, err = table.column("product_id"); err != nil {
			at, err = table.column("sku")
		}
		if err != nil && len(table.header) == 1 { // no columns' names: one id a line
			at, err, ids = 0, nil, table.header
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w; --column says which has the ids", err)
	}
	for {
		row, err := table.next()
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		id := strings.TrimSpace(row[at])
		if err := recommend.ValidateID(id); err != nil {
			return nil, table.mistake(at, row[at], "a product's id of 1 to 128 bytes")
		}
		ids = append(ids, strings.Clone(id))
	}
}
