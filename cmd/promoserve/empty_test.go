package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

func TestServerWarnsOfEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{dir: "the directory has none", filepath.Join(dir, "missing"): "the directory does not exist"} {
		var b bytes.Buffer
		warnIfEmpty(path, slog.New(slog.NewTextHandler(&b, nil)))
		if out := b.String(); !strings.Contains(out, want) || strings.Count(out, "level=WARN") != 1 {
			t.Errorf("%s: log %q, want a warning that contains %q", path, out, want)
		}
	}
}
