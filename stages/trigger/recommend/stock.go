package recommend

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of OutOfStock: the object that holds it must fit into one message of the broker.
const (
	MaxOutOfStock      = 100_000
	MaxOutOfStockBytes = 4 << 20 // of all ids together
)

// OutOfStock are the ids of products that are not recommended until they are back: sorted, each once. Nil: there are none.
type OutOfStock []string

// With has more products out of stock.
func (o OutOfStock) With(ids ...string) OutOfStock {
	all := slices.Concat([]string(o), ids)
	slices.Sort(all)
	return slices.Compact(all)
}

// Without has some products back in stock.
func (o OutOfStock) Without(ids ...string) OutOfStock {
	back := OutOfStock(nil).With(ids...)
	return slices.DeleteFunc(slices.Clone(o), back.Has)
}

// Has tells whether a product is out of stock.
func (o OutOfStock) Has(id string) bool {
	_, ok := slices.BinarySearch(o, id)
	return ok
}

// Validate reports an id that can't be one, and more than there may be.
func (o OutOfStock) Validate() error {
	size := 0
	for i, id := range o {
		if err := ValidateID(id); err != nil {
			return err
		}
		if i > 0 && o[i-1] >= id {
			return fmt.Errorf("product %q is not in the order of the ids, or stands there twice", id)
		}
		size += len(id)
	}
	switch {
	case len(o) > MaxOutOfStock:
		return fmt.Errorf("%d products are out of stock: at most %d can be told; leave out those that are not sold any more", len(o), MaxOutOfStock)
	case size > MaxOutOfStockBytes:
		return fmt.Errorf("the ids of the products out of stock have %d bytes together: at most %d can be told", size, MaxOutOfStockBytes)
	}
	return nil
}

// ValidateID reports what can't be a product's id: it has 1 to 128 bytes of text in one line, without spaces around it.
func ValidateID(id string) error {
	switch {
	case strings.TrimSpace(id) == "":
		return errors.New("a product's id is empty")
	case len(id) > maxID:
		return fmt.Errorf("product %.40q… has an id of %d bytes: at most %d", id, len(id), maxID)
	case !utf8.ValidString(id):
		return fmt.Errorf("product %q: its id is not UTF-8", id)
	case strings.TrimSpace(id) != id || strings.ContainsFunc(id, unicode.IsControl):
		return fmt.Errorf("product %q: its id has spaces around it, or holds a tab or a line's end", id)
	}
	return nil
}

// outOfStock is the encoded form.
type outOfStock struct {
	Out OutOfStock `json:"out_of_stock"`
}

// Encode writes them as the object of a control record: compressed JSON. What is not valid is refused.
func (o OutOfStock) Encode() ([]byte, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o == nil {
		o = OutOfStock{}
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(w).Encode(outOfStock{o}), w.Close()); err != nil {
		return nil, fmt.Errorf("encode the products out of stock: %w", err)
	}
	return b.Bytes(), nil
}

// DecodeOutOfStock reads what Encode wrote.
func DecodeOutOfStock(data []byte) (OutOfStock, error) {
	var o outOfStock
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(r, maxSize)).Decode(&o)
	}
	if err == nil {
		err = o.Out.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("decode the products out of stock: %w", err)
	}
	return o.Out, nil
}
