package recommend

import "attune/pipeline/event"

// Order is what a customer bought at once.
type Order struct {
	Customer string
	At       event.Instant
	Products []Item
}

// ReadProducts reads the products of an event: those in properties.products, or else the one that it is about. Their id is
// product_id, or else sku, as profiles keep it.
func ReadProducts(properties event.Object) (all []Item) {
	for product := range properties.Get("products").Items {
		if fields, ok := product.Object(); ok {
			if item := readItem(fields); item.ID != "" {
				all = append(all, item)
			}
		}
	}
	if len(all) == 0 {
		if item := readItem(properties); item.ID != "" {
			all = append(all, item)
		}
	}
	return all
}

func readItem(fields event.Object) (item Item) {
	sku := ""
	fields.Visit(func(name []byte, v event.Value) {
		switch string(name) {
		case "product_id":
			item.ID = content(v)
		case "sku":
			sku = content(v)
		case "name":
			item.Name, _ = v.Text()
		case "url":
			item.URL, _ = v.Text()
		case "image_url":
			item.Image, _ = v.Text()
		case "category":
			item.Category, _ = v.Text()
		case "price":
			if m, ok := v.Money(); ok {
				item.Price = m.String()
			}
		}
	})
	if item.ID == "" {
		item.ID = sku
	}
	return item
}

// content is a text, or a number as it is written.
func content(v event.Value) string {
	if text, ok := v.Text(); ok {
		return text
	}
	if raw := v.Raw(); len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return string(raw)
	}
	return ""
}
