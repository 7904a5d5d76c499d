package file

import (
	"os"
	"strings"
	"testing"
)

// The mapping that the package's documentation shows is one.
func TestDocumentedMapping(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(doc)) {
		if rest, ok := strings.CutPrefix(line, "//\t"); ok && (text.Len() > 0 || strings.HasPrefix(rest, "name:")) {
			text.WriteString(rest)
		}
	}
	m := mappingOf(t, text.String())
	header := "InvoiceNo,UnitPrice,Quantity,InvoiceDate,CustomerID\n"
	got, _ := importAll(t, "-", Options{Mapping: m, Stdin: strings.NewReader(header +
		"536365,2.55,6,2010-12-01 08:26:00,17850\n536366,1,1,2010-12-01 08:26:00,TEST1\nC536367,1,-1,2010-12-01 08:26:00,17850\n")})
	const want = `line 2, 1 rows, key 17850
{"type":"track","messageId":"order:536365","userId":"17850","timestamp":"2010-12-01T08:26:00Z","event":"Order Completed","properties":{"order_id":"536365","total":15.30,"currency":"GBP","products":[{"quantity":6,"price":2.55}]},"context":{"library":{"name":"attune import"}}}
`
	if got.calls != want || !strings.Contains(got.refused, "test_order") || !strings.Contains(got.refused, "no_call") {
		t.Errorf("%+v", got)
	}
}
