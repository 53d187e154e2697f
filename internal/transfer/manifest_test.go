package transfer

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"promostore/format"
	"promostore/format/generation"
)

const testID = generation.ID(1_795_341_600_000)

// testManifest returns the text of a valid manifest.
func testManifest(t testing.TB, s format.Sharding) string {
	t.Helper()
	files := make([]File, s.Shards)
	for shard := range files {
		files[shard] = File{Size: 4096, SHA256: strings.Repeat("0f", 32)}
	}
	m := NewManifest(testID, s, 0, files)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestManifestTellsTheFilesOfEachDigit(t *testing.T) {
	for _, s := range []format.Sharding{format.Unsharded, {Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardLast, Shards: 64}, {Rule: format.ShardFirst, Shards: 4096}} {
		m, err := parseManifest([]byte(testManifest(t, s)), testID)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"0", "7", "f", "0-7", "8-f", "1,3,a-c", "0-f"} {
			digits, err := generation.ParseDigits(text)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for shard, f := range m.Files {
				if digits.Owns(s, uint32(shard)) {
					want = append(want, f.Name)
				}
			}
			var owned []string
			for _, f := range m.owned(digits) {
				owned = append(owned, f.Name)
			}
			if !slices.Equal(owned, want) {
				t.Errorf("%v: digits %s own %v, want %v", s, digits, owned, want)
			}
		}
	}
}

func TestManifestRefusesWrongFields(t *testing.T) {
	good := testManifest(t, format.Sharding{Rule: format.ShardLast, Shards: 16})
	if _, err := parseManifest([]byte(good), testID); err != nil {
		t.Fatal(err)
	}
	if _, err := parseManifest([]byte(good), testID+1); !errors.Is(err, ErrManifest) {
		t.Errorf("another generation: %v", err)
	}
	newer := strings.Replace(good, `"version":1`, `"version":2`, 1)
	if _, err := parseManifest([]byte(newer), testID); err == nil || !strings.Contains(err.Error(), "upgrade promobuild") {
		t.Errorf("a newer version: %v", err)
	}
	for _, change := range [][2]string{
		{`"version":1`, `"version":0`},
		{`"version":1`, `"version":2`},
		{`"shards":16`, `"shards":17`},
		{`"shards":16`, `"shards":32`},
		{`"shards":16`, `"shards":4294967312`},
		{`"shard_by":"last"`, `"shard_by":"none"`},
		{`-00003-of-`, `-00002-of-`},
		{`promotions-`, `../promotions-`},
		{`4096`, `-1`},
		{`4096`, `0`},
		{`4096`, `1125899906842625`},
		{`0f0f`, `0F0F`},
		{`0f0f`, `0f`},
		{`"digits":"3"`, `"digits":"4"`},
		{`"digits":"3"`, `"digits":"0-f"`},
		{`}]`, `},{}]`},
		{`]}`, `]`},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if _, err := parseManifest([]byte(text), testID); !errors.Is(err, ErrManifest) || text == good {
			t.Errorf("%s → %s: %v", change[0], change[1], err)
		}
	}
}

// The largest manifest fits into maxManifestLen, also if it is indented.
func TestLargestManifestFits(t *testing.T) {
	s := format.Sharding{Rule: format.ShardFirst, Shards: format.MaxShards}
	files := make([]File, s.Shards)
	for shard := range files {
		files[shard] = File{Size: maxFileLen, SHA256: strings.Repeat("0f", 32)}
	}
	text, err := json.MarshalIndent(NewManifest(testID, s, math.MaxUint64, files), "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseManifest(text, testID); err != nil || len(text) > maxManifestLen {
		t.Errorf("%d bytes, at most %d are read; %v", len(text), maxManifestLen, err)
	}
}

func FuzzParseManifest(f *testing.F) {
	for _, s := range []format.Sharding{format.Unsharded, {Rule: format.ShardLast, Shards: 16}} {
		f.Add([]byte(testManifest(f, s)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text, testID)
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Errorf("%v is not an ErrManifest", err)
			}
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(again, testID); err != nil {
			t.Errorf("%s\nis accepted, but not\n%s: %v", text, again, err)
		}
		if n := len(m.owned(generation.AllDigits)); n != m.Shards {
			t.Errorf("all digits own %d of %d files", n, m.Shards)
		}
	})
}
