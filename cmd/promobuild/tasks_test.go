package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
)

// The commands of the operations manual build a generation that a node serves.
func TestManualRunsTheTasks(t *testing.T) {
	manual, err := os.ReadFile("../../docs/many-machines.md")
	gentest.Must(t, err)
	script := regexp.MustCompile(`(?m)^    promobuild plan (?:.*\n    )*promobuild pull .*\n`).Find(manual)
	lines := strings.Split(strings.TrimSpace(string(script)), "\n")
	if len(lines) != 6 {
		t.Fatalf("the manual has %d lines: %q", len(lines), lines)
	}
	server := objecttest.New(t)
	server.Setenv(t)
	store, _, err := objects.Parse("s3://"+objecttest.Bucket, server.Options())
	gentest.Must(t, err)
	rows, err := os.ReadFile("../../testdata/promotions.csv")
	gentest.Must(t, err)
	for _, name := range []string{"part-0.csv.gz", "part-1.csv.gz"} {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(rows)
		gentest.Must(t, errors.Join(err, w.Close()))
		_, err = store.Put(context.Background(), "exports/2026-11-27/"+name, bytes.NewReader(b.Bytes()), int64(b.Len()), objects.Always)
		gentest.Must(t, err)
	}
	node := filepath.Join(t.TempDir(), "node")
	for _, line := range lines {
		line = strings.ReplaceAll(line, "/var/lib/promostore", "'"+node+"'")
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	g, err := generation.Live(context.Background(), node, func(g generation.Generation) error { return g.Verify(context.Background()) })
	if err != nil || g.Shards != 16 {
		t.Errorf("the node serves %+v, %v", g, err)
	}
}
