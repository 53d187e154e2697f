package peer_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/bench/peer"
	"promostore/internal/synth"
)

// sortedLines is the lines of text in the order of their bytes.
func sortedLines(text []byte) []string {
	lines := slices.Collect(strings.Lines(string(text)))
	slices.Sort(lines)
	return lines
}

func TestSort(t *testing.T) {
	text, csv := newCSV(t, synth.KeysV4, 5000)
	out := filepath.Join(t.TempDir(), "sorted")
	s := peer.Sort{Memory: 64 << 20}
	if setup, err := s.Setup(t.Context()); err != nil || !strings.Contains(setup, "GNU coreutils") {
		t.Errorf("%q, %v", setup, err)
	}
	if err := s.Build(t.Context(), csv, out); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil || string(got) != strings.Join(sortedLines(text), "") {
		t.Errorf("not the sorted rows, %v", err)
	}
	if err := s.Build(t.Context(), csv+".none", out); err == nil {
		t.Error("a file that is not there is sorted")
	}
}
