package web_test

import (
	"regexp"
	"strings"
	"testing"

	"promostore/web"
)

func TestExpositionWriterEscapesLabels(t *testing.T) {
	var w web.ExpositionWriter
	w.Family("rows_total", "counter", "Rows.")
	w.Sample("", 3)
	w.Sample("_bucket", 0.5, "le", "a\\b\"c\nü\t\x00", "code", "200")
	w.Counter("files_total", 1, "Files.")
	w.Gauge("age_seconds", 1.5, "Age.")
	w.Bool("ready", true, "1 if ready.")
	w.Bool("pinned", false, "1 if pinned.")
	const want = "# HELP rows_total Rows.\n# TYPE rows_total counter\nrows_total 3\n" +
		"rows_total_bucket{le=\"a\\\\b\\\"c\\nü\t\x00\",code=\"200\"} 0.5\n" +
		"# HELP files_total Files.\n# TYPE files_total counter\nfiles_total 1\n" +
		"# HELP age_seconds Age.\n# TYPE age_seconds gauge\nage_seconds 1.5\n" +
		"# HELP ready 1 if ready.\n# TYPE ready gauge\nready 1\n" +
		"# HELP pinned 1 if pinned.\n# TYPE pinned gauge\npinned 0\n"
	if got := string(w.Bytes()); got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func TestProcessMetricsHaveTypes(t *testing.T) {
	var w web.ExpositionWriter
	w.Process("x_build_info", `v1 "x"`)
	text := string(w.Bytes())
	if !strings.HasPrefix(text, "# HELP x_build_info Version of the program and of Go; always 1.\n"+
		"# TYPE x_build_info gauge\nx_build_info{version=\"v1 \\\"x\\\"\",goversion=\"go1.") {
		t.Errorf("no build information: %.200s", text)
	}
	names := 0
	series := regexp.MustCompile(`_(bucket|sum|count)$`)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		base := series.ReplaceAllString(name, "")
		if !strings.Contains(text, "# TYPE "+name+" ") && !strings.Contains(text, "# TYPE "+base+" ") {
			t.Errorf("%s has no TYPE", name)
		}
		names++
	}
	if names < 50 || !strings.Contains(text, "\nprocess_open_fds ") {
		t.Errorf("%d samples:\n%s", names, text)
	}
}
