package generation

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A Generation holds the files of one generation in a directory.
type Generation struct {
	ID     ID
	Shards int      // number of files of the complete generation
	Files  []string // paths of the present files, by shard
}

// Complete reports whether every file of g is present.
func (g Generation) Complete() bool { return len(g.Files) == g.Shards }

// List returns the generations in dir in the order of ID.Before: those from the
// future, which is the exception, and then the others, oldest first. It reads
// names only, and ignores names that ParseName rejects and directories.
func List(dir string) ([]Generation, error) {
	entries, err := os.ReadDir(dir) // sorted by name, so by ID and then by shard
	if err != nil {
		return nil, err
	}
	var list []Generation
	for _, e := range entries {
		n, err := ParseName(e.Name())
		if err != nil || e.IsDir() {
			continue
		}
		i, found := slices.BinarySearchFunc(list, n, func(g Generation, n Name) int {
			return cmp.Or(cmp.Compare(g.ID, n.ID), cmp.Compare(g.Shards, n.Shards))
		})
		if !found {
			list = slices.Insert(list, i, Generation{ID: n.ID, Shards: n.Shards})
		}
		list[i].Files = append(list[i].Files, filepath.Join(dir, e.Name()))
	}
	now := time.Now()
	slices.SortStableFunc(list, func(a, b Generation) int {
		switch {
		case a.ID.Before(b.ID, now):
			return -1
		case b.ID.Before(a.ID, now):
			return 1
		}
		return 0
	})
	return list, nil
}

// Future returns the generations of list from the future.
func Future(list []Generation) []Generation {
	now := time.Now()
	var future []Generation
	for _, g := range list {
		if g.ID.IsFuture(now) {
			future = append(future, g)
		}
	}
	return future
}
