//go:build system

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"promostore/cmd/internal/program"
	"promostore/internal/gentest"
	"promostore/internal/synth"
)

// A full disk fails a split, which another attempt can repeat: it exits with 1 and
// leaves no files. A disk with room for the runs is enough.
func TestFullDiskFailsSplit(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big.csv")
	f, err := os.Create(big)
	gentest.Must(t, err)
	_, err = synth.DataSet{Rows: 1_000_000}.WriteTo(f)
	gentest.Must(t, err)
	gentest.Must(t, f.Close())
	splitTests(t, func(t *testing.T, x *splitTest) {
		x.input = big
		full := func(plan string) {
			t.Helper()
			out, err := x.command(plan).CombinedOutput()
			if exitCode(err) != program.ExitFailed || !strings.Contains(string(out), syscall.ENOSPC.Error()) || !strings.Contains(string(out), "Free space") {
				t.Errorf("a full disk: %v: %s", err, out)
			}
			if left := x.left(t); len(left) > 0 || x.check(t, plan) {
				t.Errorf("%q remain", left)
			}
		}
		if strings.HasPrefix(x.url, "s3://") {
			x.temp = smallDisk(t, "16m")
			full(x.plan(t))
			x.temp = smallDisk(t, "40m")
		} else {
			x.url = smallDisk(t, "16m")
			plan := x.plan(t)
			full(plan)
			entries, err := os.ReadDir(filepath.Join(plan, "split-00000"))
			if err == nil && len(entries) > 0 {
				t.Errorf("%v remain", entries)
			}
			x.url = smallDisk(t, "40m")
		}
		plan := x.plan(t)
		complete(t, x.command(plan))
		if left := x.left(t); len(left) > 0 || !x.check(t, plan) {
			t.Errorf("%q remain", left)
		}
	})
}
