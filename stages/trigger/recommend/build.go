package recommend

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"attune/pipeline/event"
)

// Bounds of a model.
const (
	MaxItems   = 10_000 // the most popular
	neighbours = 20     // of each item
	// mostInBasket is how many items of a basket count, the first: who buys more resells.
	mostInBasket = 200
	shrinkage    = 10
	// leastTogether is in how many baskets two items must lie together.
	leastTogether = 2
	unit          = 10_000 // of Alike
)

// popularHalfLife is the time in which a purchase loses half of its weight for what is popular.
const popularHalfLife = 60 * 24 * time.Hour

// Builder makes a model of baskets. It is not safe for concurrent use.
type Builder struct {
	end     event.Instant
	places  map[string]int32
	items   []described
	popular []float64 // by item
	weight  float64   // of all baskets
	baskets [][]int32
}

type described struct {
	Item
	at event.Instant
}

// NewBuilder makes a builder; popularity is as of end.
func NewBuilder(end event.Instant) *Builder {
	return &Builder{end: end, places: map[string]int32{}}
}

// Describe takes over what is said of a product at an instant; the latest word counts. An id of more than 128 bytes is
// left out.
func (b *Builder) Describe(item Item, at event.Instant) { b.place(item, at) }

func (b *Builder) place(item Item, at event.Instant) (int32, bool) {
	if item.ID == "" || len(item.ID) > maxID {
		return 0, false
	}
	place, known := b.places[item.ID]
	if !known {
		place = int32(len(b.items))
		b.places[item.ID] = place
		b.items, b.popular = append(b.items, described{item, at}), append(b.popular, 0)
		return place, true
	}
	d := &b.items[place]
	late := at >= d.at
	for _, field := range []struct{ known, said *string }{
		{&d.Name, &item.Name}, {&d.URL, &item.URL}, {&d.Image, &item.Image}, {&d.Category, &item.Category}, {&d.Price, &item.Price},
	} {
		if *field.said != "" && (late || *field.known == "") {
			*field.known = *field.said
		}
	}
	d.at = max(d.at, at)
	return place, true
}

const maxID = 128

// Basket takes over what was bought together at an instant.
func (b *Builder) Basket(products []Item, at event.Instant) {
	var basket []int32
	for _, p := range products {
		if place, ok := b.place(p, at); ok && len(basket) < mostInBasket && !slices.Contains(basket, place) {
			basket = append(basket, place)
		}
	}
	weight := math.Exp2(-float64(b.end-at) / float64(popularHalfLife.Milliseconds()))
	for _, place := range basket {
		b.popular[place] += weight
	}
	if len(basket) > 0 {
		b.weight += weight
		b.baskets = append(b.baskets, basket)
	}
}

// Baskets is how many there are.
func (b *Builder) Baskets() int { return len(b.baskets) }

// Build makes the model; the same baskets in the same order give the same one.
func (b *Builder) Build() *Model {
	order := make([]int32, len(b.items))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(x, y int32) int {
		return cmp.Or(cmp.Compare(b.popular[y], b.popular[x]), strings.Compare(b.items[x].ID, b.items[y].ID))
	})
	order = order[:min(len(order), MaxItems)]
	for len(order) > 0 && b.popular[order[len(order)-1]] == 0 { // looked at, and never bought
		order = order[:len(order)-1]
	}
	m := &Model{Near: make([][]int32, len(order)), Alike: make([][]uint16, len(order))}
	now := make([]int32, len(b.items)) // by the builder's place, the model's, counted from 1; 0: left out
	for i, place := range order {
		m.Items = append(m.Items, b.items[place].Item)
		m.Popular = append(m.Popular, uint16(math.Round(b.popular[place]/b.weight*unit)))
		now[place] = int32(i) + 1
	}
	in := make([][]int32, len(order)) // the baskets that an item is in
	for i, basket := range b.baskets {
		kept := basket[:0]
		for _, place := range basket {
			if now[place] > 0 {
				kept = append(kept, now[place]-1)
				in[now[place]-1] = append(in[now[place]-1], int32(i))
			}
		}
		b.baskets[i] = kept
	}
	together := make([]int32, len(order))
	for i := range order {
		m.Near[i], m.Alike[i] = b.nearest(int32(i), in, together)
	}
	if err := m.prepare(); err != nil { // places are indices, and ids differ
		panic(err)
	}
	b.baskets = nil
	return m
}

// nearest are the items that are most like one; together is zero, and is so again afterwards.
func (b *Builder) nearest(item int32, in [][]int32, together []int32) (near []int32, alike []uint16) {
	var met []int32
	for _, basket := range in[item] {
		for _, other := range b.baskets[basket] {
			if other == item {
				continue
			}
			if together[other] == 0 {
				met = append(met, other)
			}
			together[other]++
		}
	}
	likeness := func(other int32) float64 {
		return float64(together[other]) / (math.Sqrt(float64(len(in[item]))*float64(len(in[other]))) + shrinkage)
	}
	met = slices.DeleteFunc(met, func(other int32) bool {
		rare := together[other] < leastTogether
		if rare {
			together[other] = 0
		}
		return rare
	})
	slices.SortFunc(met, func(x, y int32) int { return cmp.Or(cmp.Compare(likeness(y), likeness(x)), cmp.Compare(x, y)) })
	for i, other := range met {
		if i < neighbours {
			near, alike = append(near, other), append(alike, uint16(math.Round(likeness(other)*unit)))
		}
	}
	for _, other := range met {
		together[other] = 0
	}
	return near, alike
}
