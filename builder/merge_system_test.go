//go:build system

package builder

import (
	"errors"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"promostore/builder/extsort"
	"promostore/internal/synth"
)

// A disk without room for the merged file fails the merge before it writes, and one
// that becomes full does so whenever that happens. No file remains.
func TestMergeToFullDisk(t *testing.T) {
	const numRows = 200_000
	parts := cut(csvOf(t, synth.DataSet{Rows: numRows}), 2)
	from := t.TempDir()
	runs := slices.Concat(buildFiles(t, from, inMemory, Options{}, parts[0]), buildFiles(t, from, inMemory, Options{}, parts[1]))

	dir := smallDisk(t, "4m")
	_, err := mergeWith(t.Context(), extsort.Sizes{}, MergeOptions{Runs: runs, Out: filepath.Join(dir, "out")})
	if space := (*SpaceError)(nil); !errors.As(err, &space) || space.Need < numRows*32 {
		t.Errorf("error %v, want a *SpaceError", err)
	}
	wantFiles(t, dir)

	for name, s := range map[string]extsort.Sizes{"memory": {}, "tiny": tinyMerge} {
		for _, written := range []int64{1, numRows / 2, numRows} {
			dir := smallDisk(t, "16m")
			filled := false
			_, err := mergeWith(t.Context(), s, MergeOptions{Runs: runs, Out: filepath.Join(dir, "out"), Workers: 1, Observe: func(st Status) {
				if !filled && st.Records >= written {
					filled = true
					fill(t, dir)
				}
			}})
			if !filled {
				t.Errorf("%s, %d records: the disk is not filled", name, written)
			}
			if written < numRows && !errors.Is(err, syscall.ENOSPC) || err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%s, %d records: error %v, want %v", name, written, err, syscall.ENOSPC)
			}
			if err != nil {
				wantFiles(t, dir, "filler")
			}
		}
	}
}
