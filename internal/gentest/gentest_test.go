package gentest_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
)

// csv returns the records of the file at path as CSV.
func csv(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	gentest.Must(t, err)
	defer f.Close()
	info, err := f.Stat()
	gentest.Must(t, err)
	x, err := format.Open(f, info.Size())
	gentest.Must(t, err)
	var text []byte
	gentest.Must(t, x.Scan(f, func(records []format.Record) error {
		for i := range records {
			text = append(records[i].AppendCSV(text, x.Styles, ','), '\n')
		}
		return nil
	}))
	return string(text)
}

func TestPublishRows(t *testing.T) {
	dir := t.TempDir()
	path := gentest.PublishRows(t, dir, 7,
		gentest.Row{ID: "d018ef0b-dbd9-48f1-ac1a-eb4d90e57118", Price: "60.683466", Date: "2018-08-04 05:32:31 +0200 CEST"},
		gentest.Row{ID: "172FFC14-D229-4C93-B06B-F48B8C095512", Price: "9.680", Date: "2022-06-04 06:01:20"},
	)
	want := `172FFC14-D229-4C93-B06B-F48B8C095512,9.680,2022-06-04 06:01:20
d018ef0b-dbd9-48f1-ac1a-eb4d90e57118,60.683466,2018-08-04 05:32:31 +0200 CEST
`
	if got := csv(t, path); got != want {
		t.Errorf("the file has\n%swant\n%s", got, want)
	}
	g, err := generation.Find(dir, 7, generation.AllDigits)
	gentest.Must(t, err)
	gentest.Must(t, g.Verify(t.Context()))
}

// TestPublishSharded checks that every record is in the file of its shard, and that
// no file is missing.
func TestPublishSharded(t *testing.T) {
	records := gentest.Scattered(3000)
	for _, s := range []format.Sharding{format.Unsharded, {Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardFirst, Shards: 64}} {
		dir := t.TempDir()
		total := 0
		for shard, path := range gentest.PublishSharded(t, dir, 7, s, records) {
			name, err := generation.ParseName(filepath.Base(path))
			if want := (generation.Name{ID: 7, Shard: shard, Shards: int(s.Shards)}); err != nil || name != want {
				t.Errorf("shard %d: file %s, %v", shard, path, err)
			}
			f, err := os.Open(path)
			gentest.Must(t, err)
			info, err := f.Stat()
			gentest.Must(t, err)
			x, err := format.Open(f, info.Size())
			gentest.Must(t, err)
			gentest.Must(t, x.Verify(f, nil))
			if x.Sharding != s || int(x.Shard) != shard || x.Records < 3000/uint64(s.Shards)/2 {
				t.Errorf("%+v shard %d: header %+v", s, shard, x.Header)
			}
			total += int(x.Records)
			gentest.Must(t, f.Close())
		}
		if list, err := generation.List(dir); err != nil || len(list) != 1 || !list[0].Complete() || total != len(records) {
			t.Errorf("%+v: generations %v, %v; %d records", s, list, err, total)
		}
	}
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	path := gentest.Publish(t, dir, 1, gentest.Sequence(1<<16+1))
	g, err := generation.Find(dir, 1, generation.AllDigits)
	gentest.Must(t, err)
	gentest.Must(t, g.Verify(t.Context()))
	for _, off := range []int64{0, -1, format.HeaderLen} {
		gentest.Flip(t, path, off)
		if g.Verify(t.Context()) == nil {
			t.Errorf("Flip at %d leaves the file good", off)
		}
		gentest.Flip(t, path, off)
		gentest.Must(t, g.Verify(t.Context()))
	}
	gentest.Overwrite(t, path, format.HeaderLen, []byte("damage"))
	if err := g.Verify(t.Context()); !errors.Is(err, format.ErrChecksum) {
		t.Errorf("overwritten block: %v, want %v", err, format.ErrChecksum)
	}
}
