package generation_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/gentest"

	"pgregory.net/rapid"
)

// TestSum compares the header of a sharded generation with that of the unsharded
// one.
func TestSum(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.SampledFrom([]format.Sharding{format.Unsharded, sixteen, {Rule: format.ShardFirst, Shards: 16}}).Draw(rt, "sharding")
		records := gentest.Scattered(rapid.IntRange(0, 40).Draw(rt, "records"))
		if rapid.Bool().Draw(rt, "low ids") {
			records = gentest.Sequence(len(records))
		}
		dir, err := os.MkdirTemp(t.TempDir(), "")
		gentest.Must(rt, err)
		gentest.Publish(rt, dir, 1, records)
		want, err := only(rt, dir).Header()
		gentest.Must(rt, err)
		gentest.Must(rt, os.Remove(gentest.Path(dir, 1)))

		paths := gentest.PublishSharded(rt, dir, 1, s, records)
		want.Sharding, want.FileLen = s, 0
		for _, path := range paths {
			info, err := os.Stat(path)
			gentest.Must(rt, err)
			want.FileLen += info.Size()
		}
		set, err := only(rt, dir).OpenIndex()
		gentest.Must(rt, err)
		defer set.Close()
		if set.Header != want || len(set.Files) != len(paths) || len(set.Styles()) != 1 {
			rt.Fatalf("header %+v of %d files, want %+v", set.Header, len(set.Files), want)
		}
		if h, err := new(generation.Checker).Header(only(rt, dir)); err != nil || h != want {
			rt.Fatalf("Checker: header %+v, %v, want %+v", h, err, want)
		}
	})
	parts := []format.Header{{Rows: 7, Records: 1, Duplicates: 2, BadRows: 4}, {Rows: 8, Records: 7, Duplicates: 1}}
	if h := generation.Sum(&parts[0], &parts[1]); h.Rows != 15 || h.Records != 8 || h.Duplicates != 3 || h.BadRows != 4 {
		t.Errorf("Sum: %+v", h)
	}
	if h := generation.Sum(); h != (format.Header{}) {
		t.Errorf("Sum of nothing: %+v", h)
	}
}

// TestServableSet damages a generation of 32 shards. A server of all digits refuses
// it because of the damaged file, and so does a server that needs this file. To
// other servers it does not matter.
func TestServableSet(t *testing.T) {
	sharding := format.Sharding{Rule: format.ShardFirst, Shards: 32}
	records := gentest.Scattered(32 * 300)
	wall := format.TimestampStyle{Layout: format.LayoutWall}
	other := t.TempDir()
	ofOther := func(id generation.ID, s format.Sharding, styles ...format.TimestampStyle) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			dir, err := os.MkdirTemp(other, "")
			gentest.Must(t, err)
			gentest.PublishSharded(t, dir, id, s, nil, styles...)
			from := generation.Name{ID: id, Shard: 5, Shards: 32}.String()
			gentest.Must(t, os.Rename(filepath.Join(dir, from), path))
		}
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string) // of shard 5
		want   error
		blocks bool // only Verify finds it
	}{
		{"none", func(*testing.T, string) {}, nil, false},
		{"missing", func(t *testing.T, path string) { gentest.Must(t, os.Remove(path)) }, generation.ErrIncomplete, false},
		{"directory", func(t *testing.T, path string) {
			gentest.Must(t, os.Remove(path))
			gentest.Must(t, os.Symlink(".", path))
		}, fsx.ErrNotRegular, false},
		{"truncated", func(t *testing.T, path string) { gentest.Must(t, os.Truncate(path, 5000)) }, format.ErrTruncated, false},
		{"block", func(t *testing.T, path string) { gentest.Overwrite(t, path, format.BlockOff(1), []byte("damage")) }, format.ErrChecksum, true},
		{"another shard", func(t *testing.T, path string) {
			dir := filepath.Dir(path)
			gentest.Must(t, os.Remove(path))
			gentest.Must(t, os.Link(filepath.Join(dir, generation.Name{ID: 1, Shard: 6, Shards: 32}.String()), path))
		}, generation.ErrMisnamed, false},
		{"another generation", ofOther(2, sharding), generation.ErrMisnamed, false},
		{"another rule", ofOther(1, format.Sharding{Rule: format.ShardLast, Shards: 32}), generation.ErrDisagree, false},
		{"another dictionary", ofOther(1, sharding, wall, format.TimestampStyle{Layout: format.LayoutUTC}), generation.ErrDisagree, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := gentest.PublishSharded(t, dir, 1, sharding, records)[5]
			c.damage(t, path)
			g := only(t, dir)
			wantErr := func(what string, err error, want error) {
				t.Helper()
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", what, err, want)
				}
				var incomplete *generation.IncompleteError
				if want == nil {
					return
				}
				if errors.As(err, &incomplete) {
					if len(incomplete.Missing) != 1 || incomplete.Missing[0] != 5 {
						t.Errorf("%s: missing %v, want 5", what, incomplete.Missing)
					}
				} else if got := g.FileOf(err); got != path {
					t.Errorf("%s: the error is about %s, want %s", what, got, path)
				}
			}
			index := c.want
			if c.blocks {
				index = nil
			}
			var checker generation.Checker
			_, err := g.Header()
			wantErr("Header", err, index)
			wantErr("Checker.Servable", checker.Servable(g), index)
			wantErr("Checker.Servable again", checker.Servable(g), index)
			wantErr("Verify", g.Verify(t.Context()), c.want)
			wantErr("Checker.Verify", checker.Verify(t.Context(), g), c.want)

			// By the rule first, the digit 2 selects the shards 4 and 5.
			for digits, want := range map[generation.Digits]error{1 << 2: index, 1<<2 | 1<<15: index, generation.AllDigits: index, ^generation.Digits(1 << 2): nil} {
				if c.name == "another rule" && digits == 1<<2 {
					continue // there are only two files, and one of them decides the rule
				}
				opened := 0
				files, err := generation.Open(g, digits, func(path string) (*counted, error) {
					opened++
					return openCounted(path)
				})
				wantErr(fmt.Sprintf("Open for the digits %s", digits), err, want)
				if (files == nil) != (err != nil) {
					t.Errorf("digits %s: %d files, %v", digits, len(files), err)
				}
				for shard, f := range files {
					if owned := digits.Owns(sharding, uint32(shard)); (f != nil) != owned {
						t.Errorf("digits %s: shard %d is open: %t", digits, shard, f != nil)
					}
					if f != nil {
						gentest.Must(t, f.Close())
					}
				}
				if openFiles != 0 {
					t.Errorf("digits %s: %d files remain open", digits, openFiles)
				}
			}
		})
	}
}

// TestMajorityAgrees checks that the error is about the first of the files that
// contradict the others, also if it is shard 0, and tells how many do.
func TestMajorityAgrees(t *testing.T) {
	for _, odd := range [][]int{{0}, {1}, {7}, {15}, {0, 1, 2, 3, 4, 5, 6}, {3, 14}} {
		dir := t.TempDir()
		paths := gentest.PublishSharded(t, dir, 1, sixteen, nil)
		others := gentest.PublishSharded(t, t.TempDir(), 1, sixteen, nil, format.TimestampStyle{Layout: format.LayoutUTC})
		for _, shard := range odd {
			gentest.Must(t, os.Rename(others[shard], paths[shard]))
		}
		g := only(t, dir)
		_, err := g.Header()
		if !errors.Is(err, generation.ErrDisagree) || g.FileOf(err) != paths[odd[0]] {
			t.Errorf("%v, want an error about shard %d", err, odd[0])
		}
		if number := fmt.Sprintf("; %d files differ from that", len(odd)); len(odd) > 1 && !strings.HasSuffix(fmt.Sprint(err), number) {
			t.Errorf("%v, want %q at its end", err, number)
		}
	}
}

// A counted is an open file that openFiles counts.
type counted struct {
	header format.Header
	styles []format.TimestampStyle
}

var openFiles int

func openCounted(path string) (*counted, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	x, err := format.Open(f, info.Size())
	if err != nil {
		return nil, err
	}
	openFiles++
	return &counted{x.Header, x.Styles}, nil
}

func (c *counted) Header() *format.Header          { return &c.header }
func (c *counted) Styles() []format.TimestampStyle { return c.styles }
func (c *counted) Close() error                    { openFiles--; return nil }
