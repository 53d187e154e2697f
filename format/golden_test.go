package format_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/format"
)

// The golden files of a released version never change. A change of the format
// needs a new version with new files.
var update = flag.Bool("update", false, "write the golden files")

const goldenDir = "testdata/golden"

// goldens holds the names and the contents of the golden files.
var goldens = []struct {
	name   string
	header format.Header
	rows   []string // in the order of their ids
}{
	{"v1-empty", format.Header{Sharding: format.Unsharded}, nil},
	{"v1-one", format.Header{Sharding: format.Unsharded, Generation: 1795343400123}, []string{
		"172FFC14-D229-4C93-B06B-F48B8C095512,9.68,2022-06-04 06:01:20",
	}},
	{"v1-block", format.Header{Sharding: format.Unsharded, Generation: 1}, goldenRows(128)},
	{"v1-block-and-one", format.Header{Sharding: format.Unsharded, Generation: 1}, goldenRows(129)},
	{"v1-layouts", format.Header{Sharding: format.Unsharded, Generation: format.MaxGeneration, Duplicates: 5, BadRows: 7}, []string{
		"00000000-0000-0000-0000-000000000000,0,0000-01-01 00:00:00",
		"00000000-0000-0000-0000-000000000001,-0,9999-12-31 23:59:59",
		"0000000A-0000-0000-0000-000000000000,-0.00,2016-02-29 12:00:00 +0000",
		"0000000a-0000-0000-0000-000000000001,0.0000000000000001,2016-02-29 12:00:00 -0000",
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e57118,60.683466,2018-08-04 05:32:31 +0200 CEST",
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e57119,60.680,2018-10-28 02:30:00 +0200 CEST",
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e5711a,60.680,2018-10-28 02:30:00 +0100 CET",
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e5711b,1,2018-10-28 02:30:00 -0330 -0330",
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e5711c,1,2018-10-28 02:30:00 +0300 +03",
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e5711d,1,2018-10-28 02:30:00 +0300 МСК",
		"e0000000-0000-0000-0000-000000000000,9999999999999999,2018-10-28T02:30:00Z",
		"e0000000-0000-0000-0000-000000000001,-999999999.9999999,2018-10-28T02:30:00+00:00",
		"e0000000-0000-0000-0000-000000000002,0.9999999999999999,2018-10-28T02:30:00-00:00",
		"ffffffff-ffff-ffff-ffff-ffffffffffff,1.0,2018-10-28T02:30:00+23:59",
	}},
	{"v1-shard-last", format.Header{Sharding: format.Sharding{Rule: format.ShardLast, Shards: 32}, Shard: 19, Generation: 1, Duplicates: 1}, []string{
		"00000000-0000-0000-0000-000000000013,0,2022-06-04 06:01:20",
		"00000000-0000-0000-0000-000000000033,1,2022-06-04 06:01:20",
		"ffffffff-ffff-ffff-ffff-fffffffffff3,2,2022-06-04 06:01:20",
	}},
	{"v1-shard-first", format.Header{Sharding: format.Sharding{Rule: format.ShardFirst, Shards: 4096}, Shard: 0xABC, Generation: 1, BadRows: 1}, []string{
		"abc00000-0000-0000-0000-000000000000,0,2022-06-04 06:01:20",
		"abcfffff-ffff-ffff-ffff-ffffffffffff,1,2022-06-04 06:01:20",
	}},
	{"v1-shard-empty", format.Header{Sharding: format.Sharding{Rule: format.ShardFirst, Shards: 16}, Shard: 15}, nil},
	{"v2-suffixes", format.Header{Sharding: format.Unsharded, Generation: 1795343400123}, []string{
		"00000000-0000-0000-0000-000000000000,0,2022-06-04 06:01:20+00",
		"00000000-0000-0000-0000-000000000001,0,2022-06-04 06:01:20-0330",
		"00000000-0000-0000-0000-000000000002,0,2022-06-04 06:01:20+05:30",
		"00000000-0000-0000-0000-000000000003,0,2022-06-04 06:01:20 UTC",
		"00000000-0000-0000-0000-000000000004,0,2022-06-04 06:01:20 GMT",
		"00000000-0000-0000-0000-000000000005,0,2022-06-04 06:01:20Z",
		"00000000-0000-0000-0000-000000000006,0,2022-06-04 06:01:20.000",
		"00000000-0000-0000-0000-000000000007,0,2022-06-04 06:01:20.000000 +0200 CEST",
		"00000000-0000-0000-0000-000000000008,0,2022-06-04 06:01:20.0000000 +02:00",
		"00000000-0000-0000-0000-000000000009,0,2022-06-04T06:01:20.000Z",
		"00000000-0000-0000-0000-00000000000a,0,2022-06-04T06:01:20z",
		"00000000-0000-0000-0000-00000000000b,0,2022-06-04T06:01:20.000-00:00",
		"00000000-0000-0000-0000-00000000000c,0,2022-06-04T06:01:20+0000",
		"00000000-0000-0000-0000-00000000000d,0,2022-06-04 06:01:20", // a style of version 1
	}},
	{"v2-zeros", format.Header{Sharding: format.Unsharded, Generation: 1795343400123}, []string{
		"00000000-0000-0000-0000-000000000000,9.680000000000000000,2022-06-04 06:01:20",
		"00000000-0000-0000-0000-000000000001,-96.800000000000000000,2022-06-04 06:01:20",
		"00000000-0000-0000-0000-000000000002,0.000000000000000000,2022-06-04 06:01:20",
		"00000000-0000-0000-0000-000000000003,9999999999999999.0,2022-06-04 06:01:20 +0200 CEST",
		"00000000-0000-0000-0000-000000000004,1." + strings.Repeat("0", 78) + ",2022-06-04T06:01:20.000Z",
		"00000000-0000-0000-0000-000000000005,1.000000000000000,2022-06-04 06:01:20", // has 16 digits, as in version 1
	}},
	{"v1-rows", format.Header{Sharding: format.Unsharded, Generation: 1795343400123, Duplicates: 1}, goldenRows(300)},
}

// goldenRows returns n rows like those of a real data set.
func goldenRows(n int) []string {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	rows := make([]string, n)
	for i := range rows {
		id := fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", rng.Uint32(), rng.Uint32N(1<<16), rng.Uint32N(1<<16), rng.Uint32N(1<<16), rng.Uint64N(1<<48))
		month, offset := 6+rng.IntN(6), "+0200 CEST"
		if month > 10 {
			offset = "+0100 CET"
		}
		rows[i] = fmt.Sprintf("%s,%d.%0*d,2018-%02d-%02d %02d:%02d:%02d %s", id, rng.IntN(100), 2+i%5, rng.IntN(100),
			month, 1+rng.IntN(30), rng.IntN(24), rng.IntN(60), rng.IntN(60), offset)
	}
	slices.Sort(rows)
	return rows
}

func TestGolden(t *testing.T) {
	if *update {
		if err := os.MkdirAll(goldenDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for _, g := range goldens {
		path := filepath.Join(goldenDir, g.name+".pgen")
		paths = append(paths, path)
		t.Run(g.name, func(t *testing.T) {
			written := parseRows(t, g.header, g.rows).write(t)
			if *update {
				if err := os.WriteFile(path, written, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(written, golden) {
				t.Errorf("the file of Writer differs at offset %d", firstDifference(written, golden))
			}
			got, err := open(golden)
			if err != nil {
				t.Fatal(err)
			}
			if rows := strings.Split(strings.TrimSuffix(got.csv(), "\n"), "\n"); len(g.rows) > 0 && !slices.Equal(rows, g.rows) {
				t.Errorf("content\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(g.rows, "\n"))
			}
			if uint64(len(g.rows)) != got.header.Records || len(got.records) != len(g.rows) {
				t.Errorf("%d records, %d in the header, want %d", len(got.records), got.header.Records, len(g.rows))
			}
			h := got.header
			if want := fmt.Sprintf("v%d-", h.Version); !strings.HasPrefix(g.name, want) {
				t.Errorf("version %d", h.Version)
			}
			if h.Shard != g.header.Shard || h.Sharding != g.header.Sharding || h.Generation != g.header.Generation ||
				h.Duplicates != g.header.Duplicates || h.BadRows != g.header.BadRows || h.Rows != h.Records+h.Duplicates+h.BadRows {
				t.Errorf("header %+v, want that of %+v", h, g.header)
			}
		})
	}
	found, err := filepath.Glob(filepath.Join(goldenDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	if !slices.Equal(found, paths) {
		t.Errorf("golden files %q, want %q", found, paths)
	}
}
