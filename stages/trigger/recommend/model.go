// Package recommend chooses products for one customer's mail, from memory: what is bought together with the products that
// they bought, put into the cart and looked at, what they bought before, and else what is popular.
//
// Two products are alike by the cosine of their baskets, shrunk so that a few baskets prove little:
//
//	n_ij / (sqrt(n_i n_j) + 10)
//
// It is pure, and chooses the same on every platform. For the measure see Sarwar, Karypis, Konstan, Riedl: Item-based
// collaborative filtering recommendation algorithms, WWW 2001.
package recommend

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Item is a product as orders and views described it last. What was never said is empty.
type Item struct {
	ID       string `json:"product_id"`
	Name     string `json:"name,omitempty"`
	URL      string `json:"url,omitempty"`
	Image    string `json:"image_url,omitempty"`
	Category string `json:"category,omitempty"`
	Price    string `json:"price,omitempty"` // of one, in main currency units
}

// Model is what is bought together, and what is popular. It never changes after Build or Decode and is safe for
// concurrent use.
type Model struct {
	// Items are the products that can be recommended, the most popular first.
	Items []Item `json:"items"`
	// Near are for each item those that are most alike, the most alike first, and Alike how much, in ten-thousandths.
	Near  [][]int32  `json:"near"`
	Alike [][]uint16 `json:"alike"`
	// Popular are the decayed shares of baskets that hold an item, in ten-thousandths.
	Popular []uint16 `json:"popular"`

	places map[string]int32
}

// Encode is the model as compressed JSON.
func (m *Model) Encode() ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(w).Encode(m), w.Close()); err != nil {
		return nil, fmt.Errorf("recommend: %w", err)
	}
	return b.Bytes(), nil
}

// maxSize bounds the JSON of a model, in bytes.
const maxSize = 256 << 20

// Decode reads what Encode wrote, and checks it.
func Decode(data []byte) (*Model, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("recommend: %w", err)
	}
	m := &Model{}
	if err := json.NewDecoder(io.LimitReader(r, maxSize)).Decode(m); err != nil {
		return nil, fmt.Errorf("recommend: %w", err)
	}
	return m, m.prepare()
}

// Knows tells whether a product can be recommended at all.
func (m *Model) Knows(id string) bool { _, ok := m.places[id]; return ok }

// popular knows of no likeness.
func (m *Model) popular() *Model {
	return &Model{Items: m.Items, Near: make([][]int32, len(m.Items)), Alike: make([][]uint16, len(m.Items)), Popular: m.Popular, places: m.places}
}

var errShape = errors.New("recommend: the model's lists don't belong together")

func (m *Model) prepare() error {
	if len(m.Near) != len(m.Items) || len(m.Alike) != len(m.Items) || len(m.Popular) != len(m.Items) {
		return errShape
	}
	m.places = make(map[string]int32, len(m.Items))
	for i, item := range m.Items {
		m.places[item.ID] = int32(i)
		if len(m.Near[i]) != len(m.Alike[i]) {
			return errShape
		}
		for _, other := range m.Near[i] {
			if other < 0 || int(other) >= len(m.Items) {
				return errShape
			}
		}
	}
	if len(m.places) != len(m.Items) {
		return errShape
	}
	return nil
}
