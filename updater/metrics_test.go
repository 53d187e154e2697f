package updater_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/updater"
)

func (f *fixture) metrics(t *testing.T) string {
	t.Helper()
	res, err := f.client.Get("http://" + f.address + "/prometheus")
	must(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return string(text)
}

// metric returns the value of a sample. name includes the labels.
func (f *fixture) metric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(f.metrics(t)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Errorf("metric %s is missing", name)
	return ""
}

// TestMetricsAnswersLikePrometheus checks that /metrics has the samples and the type
// of /prometheus.
func TestMetricsAnswersLikePrometheus(t *testing.T) {
	f := start(t, nil)
	series := regexp.MustCompile(`(?m)^(.*) \S+$`)
	var texts [2]string
	for i, path := range []string{"/prometheus", "/metrics"} {
		res, err := f.client.Get("http://" + f.address + path)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		must(t, err)
		texts[i] = fmt.Sprintln(res.StatusCode, res.Header.Get("Content-Type"), series.ReplaceAllString(string(body), "$1"))
	}
	if texts[0] != texts[1] || !strings.HasPrefix(texts[0], "200 text/plain") {
		t.Errorf("/prometheus has\n%s\n/metrics has\n%s", texts[0], texts[1])
	}
}

func TestMetricsCountBuildsAndUploads(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Inbox = filepath.Join(t.TempDir(), "inbox") })
	if text := f.metrics(t); strings.Contains(text, "promobuild_generation_bytes") || strings.Contains(text, "promobuild_last_") {
		t.Error("metrics of a generation before the first build")
	}
	csv := dataSet(t, 123)
	a := f.post(t, strings.NewReader(csv))
	a.want(t, http.StatusCreated, "")
	f.post(t, strings.NewReader("bad\n")).want(t, http.StatusUnprocessableEntity, "bad_rows")
	for name, want := range map[string]string{
		`promobuild_builds_total{result="published"}`:   "1",
		`promobuild_builds_total{result="bad_rows"}`:    "1",
		`promobuild_builds_total{result="refused"}`:     "0",
		`promobuild_builds_total{result="no_space"}`:    "0",
		`promobuild_builds_total{result="interrupted"}`: "0",
		`promobuild_builds_total{result="failed"}`:      "0",
		`promobuild_uploads_total{code="201"}`:          "1",
		`promobuild_uploads_total{code="422"}`:          "1",
		`promobuild_uploads_total{code="507"}`:          "0",
		`promobuild_inbox_files{state="waiting"}`:       "0",
		"promobuild_build_running":                      "0",
		"promobuild_last_build_records":                 "123",
		"promobuild_generation_records":                 "123",
		"promobuild_hook_runs_total":                    "0",
		"promobuild_hook_failures_total":                "0",
		"promobuild_pinned":                             "0",
	} {
		if got := f.metric(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"promobuild_last_publish_timestamp_seconds", "promobuild_last_build_seconds", "promobuild_generation_bytes",
		"promobuild_disk_free_bytes", "promobuild_disk_size_bytes", "promobuild_upload_bytes_total", "process_resident_memory_bytes"} {
		if got := f.metric(t, name); got == "" || got == "0" {
			t.Errorf("%s is %q", name, got)
		}
	}
	_, size, err := fsx.Space(f.data)
	must(t, err)
	if got := f.metric(t, "promobuild_disk_size_bytes"); got != strconv.FormatFloat(float64(size), 'g', -1, 64) {
		t.Errorf("promobuild_disk_size_bytes is %s, want %d", got, size)
	}
	id, err := generation.ParseID(a.object["generation"].(string))
	must(t, err)
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: id}))
	if got := f.metric(t, "promobuild_pinned"); got != "1" {
		t.Errorf("promobuild_pinned is %s, want 1", got)
	}
	if st := f.get(t, "/status").object; st["pinned"] != id.String() || st["live"] != id.String() {
		t.Errorf("/status: %v", st)
	}
	text := f.metrics(t)
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		if strings.HasPrefix(name, "promobuild_") && !strings.Contains(text, "# TYPE "+name+" ") {
			t.Errorf("%s has no TYPE", name)
		}
	}
}
