package web_test

import (
	"testing"

	"promostore/web"
)

func TestPage(t *testing.T) {
	var p web.Page
	p.Family("rows_total", "counter", "Rows.")
	p.Sample("", 3)
	p.Sample("_bucket", 0.5, "le", "a\\b\"c\nü\t\x00", "code", "200")
	const want = "# HELP rows_total Rows.\n# TYPE rows_total counter\nrows_total 3\n" +
		"rows_total_bucket{le=\"a\\\\b\\\"c\\nü\t\x00\",code=\"200\"} 0.5\n"
	if got := p.String(); got != want {
		t.Errorf("the page is\n%q, want\n%q", got, want)
	}
}
