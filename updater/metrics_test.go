package updater_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
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

// metric is the value of a sample, whose labels are part of its name.
func (f *fixture) metric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(f.metrics(t)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Errorf("there is no metric %s", name)
	return ""
}

func TestMetrics(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Inbox = filepath.Join(t.TempDir(), "inbox") })
	if text := f.metrics(t); strings.Contains(text, "promobuild_generation_bytes") || strings.Contains(text, "promobuild_last_") {
		t.Error("there are metrics of a generation, and there is none")
	}
	csv := table(t, 123)
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
	id, err := generation.ParseID(a.object["generation"].(string))
	must(t, err)
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: id}))
	if got := f.metric(t, "promobuild_pinned"); got != "1" {
		t.Errorf("pinned is %s", got)
	}
	if st := f.get(t, "/status").object; st["pinned"] != id.String() || st["live"] != id.String() {
		t.Errorf("status: %v", st)
	}
	for line := range strings.Lines(f.metrics(t)) {
		name, _, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		if strings.HasPrefix(name, "promobuild_") && !strings.Contains(f.metrics(t), "# TYPE "+name+" ") {
			t.Errorf("%s has no type", name)
		}
	}
}

// The status has the last builds, newest first, and not all of them.
func TestStatus(t *testing.T) {
	f := start(t, nil)
	for rows := range int64(22) {
		f.post(t, strings.NewReader(table(t, rows+1))).want(t, http.StatusCreated, "")
	}
	builds := f.builds(t)
	if len(builds) != 20 {
		t.Fatalf("%d builds", len(builds))
	}
	for i, b := range builds {
		summary, _ := b["summary"].(map[string]any)
		if b["result"] != "published" || b["source"] != "upload" || summary["records"] != float64(22-i) {
			t.Errorf("build %d: %v", i, b)
		}
	}
}

// Who uploads while another generation is pinned is told that it is not served.
func TestPinned(t *testing.T) {
	f := start(t, nil)
	a := f.post(t, strings.NewReader(table(t, 1)))
	if a.object["pinned"] != nil {
		t.Errorf("nothing is pinned: %s", a)
	}
	id, err := generation.ParseID(a.object["generation"].(string))
	must(t, err)
	at := time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: id, By: "ops@node", Reason: "wrong prices", At: at}))
	a = f.post(t, strings.NewReader(table(t, 2)))
	a.want(t, http.StatusCreated, "")
	if a.object["pinned"] != id.String() {
		t.Errorf("%s does not say that %s is pinned", a, id)
	}
	st := f.get(t, "/status").object
	if st["live"] != id.String() || st["pinned"] != id.String() || st["by"] != "ops@node" || st["reason"] != "wrong prices" || st["at"] != "2026-11-24T13:00:00Z" {
		t.Errorf("status: %v", st)
	}
	if b := f.builds(t)[0]; b["pinned"] != id.String() {
		t.Errorf("build: %v", b)
	}
	must(t, os.WriteFile(filepath.Join(f.data, generation.PinName), []byte("{"), 0o644))
	f.post(t, strings.NewReader(table(t, 3))).want(t, http.StatusCreated, "")
	if st := f.get(t, "/status").object; st["pinned"] != "" || st["pin_error"] == nil {
		t.Errorf("status: %v", st)
	}
	f.stop(t)
	for _, want := range []string{`msg="servers stay with the pinned generation"`, `by=ops@node reason="wrong prices"`, "the pin cannot be read"} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}
