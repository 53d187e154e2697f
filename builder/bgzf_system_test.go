//go:build system

package builder

import (
	"bytes"
	"os/exec"
	"testing"

	"promostore/internal/synth"
)

// The files of the bgzip command build the same generation as plain CSV.
func TestBgzipCommand(t *testing.T) {
	csv := csvOf(t, synth.DataSet{Rows: 100_000})
	_, want := mustBuild(t, inMemory, Options{Inputs: []Input{stream("in", csv)}})
	for _, level := range []string{"-l0", "-l1", "-l6", "-l9"} {
		bgzip := exec.Command("bgzip", "-c", level)
		bgzip.Stdin = bytes.NewReader(csv)
		z, err := bgzip.Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, workers := range []int{1, 4} {
			if _, got := mustBuild(t, inMemory, Options{Inputs: []Input{stream("in", z)}, Workers: workers}); !bytes.Equal(got, want) {
				t.Errorf("bgzip %s, %d workers: the file differs from that of plain CSV", level, workers)
			}
		}
	}
}
