package mapping

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func documented(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// The mapping that the documentation shows is one, and does what it says.
func TestDocumentedMapping(t *testing.T) {
	var text strings.Builder
	for line := range strings.Lines(documented(t)) {
		if rest, ok := strings.CutPrefix(line, "//\t"); ok && (text.Len() > 0 || strings.HasPrefix(rest, "name:")) {
			text.WriteString(rest)
		} else if text.Len() > 0 {
			break
		}
	}
	m, err := Parse("doc.go", []byte(text.String()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := mapped(t, m, `{"customer": {"id": 7, "email": "Ada@Shop.Example", "country": "Germany"}, "orders": [
		{"id": "o1", "number": "A-1", "status": "paid", "paid_at": "2026-05-01T12:00:00+02:00", "currency": "EUR", "total_cents": 1999, "lines": [{"sku": "s", "quantity": 1, "price": 19.99, "cost": 3}]},
		{"id": "o2", "test": true, "currency": "EUR"}, {"id": "o3"}, {"number": "A-4"}]}`)
	const want = `0 {"type":"track","messageId":"my-shop:o1","userId":"7","event":"Order Completed","timestamp":"2026-05-01T10:00:00Z","properties":{"order_id":"A-1","products":[{"price":19.99,"product_id":"s","quantity":1}],"revenue":"19.99"}}
0 {"type":"identify","messageId":"my-shop:o1#1","userId":"7","traits":{"country":"DE","email":"ada@shop.example"}}
! no_currency: doc.go:15: item 2: refuse[0].when: the mapping refuses the item: send the currency of each order
! no_order_id: item 3: id is missing: send the order's id
1 ignored
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The documentation lists the functions that can be used, all of them and no other.
func TestDocumentedFunctions(t *testing.T) {
	_, rest, _ := strings.Cut(documented(t), "these functions only:\n")
	list, rest, _ := strings.Cut(rest, "// and Attune's own")
	_, rest, _ = strings.Cut(rest, "as it is:\n")
	table, _, _ := strings.Cut(rest, "// A payload may take")
	listed := strings.Fields(strings.ReplaceAll(list, "//", " "))
	for line := range strings.Lines(table) {
		if row, ok := strings.CutPrefix(line, "//\t"); ok {
			name, _, _ := strings.Cut(strings.Fields(row)[0], "(")
			listed = append(listed, strings.TrimSuffix(name, ","))
		}
	}
	slices.Sort(listed)
	known := functions()
	slices.Sort(known)
	if !slices.Equal(listed, known) {
		t.Errorf("listed %v\nknown  %v", listed, known)
	}
}
