package generation_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"

	"pgregory.net/rapid"
)

// only returns the only generation in dir.
func only(t gentest.T, dir string) generation.Generation {
	t.Helper()
	all, err := generation.List(dir)
	if err == nil && len(all) != 1 {
		err = errors.New("not one generation")
	}
	gentest.Must(t, err)
	return all[0]
}

// TestMissing removes some files of a generation. Those that digits select are
// missing for a server of these digits.
func TestMissing(t *testing.T) {
	template := t.TempDir()
	shardings := []format.Sharding{format.Unsharded, {Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardLast, Shards: 64}, {Rule: format.ShardFirst, Shards: 32}}
	for i, s := range shardings {
		gentest.PublishSharded(t, template, generation.ID(i), s, nil)
	}
	all, err := generation.List(template)
	gentest.Must(t, err)
	rapid.Check(t, func(rt *rapid.T) {
		i := rapid.IntRange(0, len(all)-1).Draw(rt, "sharding")
		s, g := shardings[i], all[i]
		digits := generation.Digits(rapid.Uint16Min(1).Draw(rt, "digits"))
		g.Files = slices.DeleteFunc(slices.Clone(g.Files), func(string) bool { return rapid.IntRange(0, 3).Draw(rt, "absent") == 0 })
		if len(g.Files) == 0 {
			return
		}
		var absent, missing []int
		known := false // some header tells the rule
		for shard := range int(s.Shards) {
			path := filepath.Join(template, generation.Name{ID: g.ID, Shard: shard, Shards: g.Shards}.String())
			present := slices.Contains(g.Files, path)
			if got := g.Path(shard); present && got != path || !present && got != "" {
				rt.Fatalf("path of shard %d: %q", shard, got)
			}
			owned := digits.Owns(s, uint32(shard))
			known = known || present && owned
			if !present {
				absent = append(absent, shard)
			}
			if !present && owned {
				missing = append(missing, shard)
			}
		}
		if got := g.MissingOf(generation.AllDigits); !slices.Equal(got, absent) {
			rt.Fatalf("missing %v, want %v", got, absent)
		}
		if got := g.MissingOf(digits); !slices.Equal(got, missing) && (known || s.Rule != format.ShardFirst) {
			rt.Fatalf("missing %v for the digits %s, want %v", got, digits, missing)
		}
	})
}

// TestMissingOfBadFiles checks that headers of files that a server does not need,
// and damaged ones, do not decide which files it needs.
func TestMissingOfBadFiles(t *testing.T) {
	dir := t.TempDir()
	first := format.Sharding{Rule: format.ShardFirst, Shards: 32}
	last := format.Sharding{Rule: format.ShardLast, Shards: 32}
	paths := gentest.PublishSharded(t, dir, 1, first, nil)
	// By the rule first, the digits 8-f need the shards 16 to 31.
	digits, err := generation.ParseDigits("8-f")
	gentest.Must(t, err)
	other := gentest.PublishSharded(t, t.TempDir(), 1, last, nil)
	for shard := range 8 {
		gentest.Must(t, os.Rename(other[shard], paths[shard])) // a foreign shard by either rule
	}
	gentest.Must(t, os.Truncate(paths[8], 100))
	gentest.Must(t, os.Truncate(paths[16], 100))
	gentest.Must(t, os.Remove(paths[9]))
	if got := only(t, dir).MissingOf(digits); got != nil {
		t.Errorf("missing %v, want none", got)
	}
	gentest.Must(t, os.Remove(paths[20]))
	if got := only(t, dir).MissingOf(digits); !slices.Equal(got, []int{20}) {
		t.Errorf("missing %v, want 20", got)
	}
}

func TestShardRanges(t *testing.T) {
	var odd []int
	for i := range 50 {
		odd = append(odd, 2*i+1)
	}
	for want, shards := range map[string][]int{
		"":                             {},
		"0":                            {0},
		"4-5, 9":                       {4, 5, 9},
		"0-3, 7, 4095":                 {0, 1, 2, 3, 7, 4095},
		"1, 3, 5, 7, 9, 11, 13, 15":    odd[:8],
		"1, 3, 5, 7, 9, 11, 13, 15, …": odd[:9],
	} {
		if got := generation.ShardRanges(shards); got != want {
			t.Errorf("ShardRanges(%v) = %q, want %q", shards, got, want)
		}
	}
	err := &generation.IncompleteError{ID: 1, Shards: 16, Missing: []int{4, 5, 9}}
	if !errors.Is(err, generation.ErrIncomplete) || !strings.HasSuffix(err.Error(), "incomplete: missing 3 of 16 shards: 4-5, 9") {
		t.Errorf("error %q", err)
	}
}
