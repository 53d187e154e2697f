package generation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"

	"pgregory.net/rapid"
)

const maxID = 253402300799999 // 9999-12-31T23:59:59.999Z

func genID() *rapid.Generator[generation.ID] {
	return rapid.Map(rapid.Int64Range(0, maxID), func(ms int64) generation.ID { return generation.ID(ms) })
}

func genName() *rapid.Generator[generation.Name] {
	return rapid.Custom(func(t *rapid.T) generation.Name {
		shards := rapid.IntRange(1, 99999).Draw(t, "shards")
		return generation.Name{ID: genID().Draw(t, "id"), Shard: rapid.IntRange(0, shards-1).Draw(t, "shard"), Shards: shards}
	})
}

func TestNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := genName().Draw(t, "name")
		s := n.String()
		if got, err := generation.ParseName(s); err != nil || got != n {
			t.Fatalf("ParseName(%q) = %+v, %v, want %+v", s, got, err, n)
		}
		// Package time prints the same time.
		at := time.UnixMilli(int64(n.ID)).UTC().Format("20060102T150405.000Z")
		if want := "promotions-" + strings.Replace(at, ".", "", 1) + "-"; !strings.HasPrefix(s, want) {
			t.Fatalf("name %q, want the prefix %q", s, want)
		}
		if got := generation.IDOf(n.ID.Time().Add(999 * time.Microsecond)); got != n.ID {
			t.Fatalf("ID of a time in the same millisecond: %d, want %d", got, n.ID)
		}
		o := genName().Draw(t, "other")
		if n.ID < o.ID != (s < o.String()) && n.ID != o.ID {
			t.Fatalf("%q and %q do not sort like their IDs", s, o)
		}
	})
}

// checkName checks that ParseName accepts only results of String.
func checkName(tb rapid.TB, s string) {
	tb.Helper()
	n, err := generation.ParseName(s)
	if err != nil {
		if !errors.Is(err, generation.ErrName) {
			tb.Fatalf("ParseName(%q): %v, want %v", s, err, generation.ErrName)
		}
		return
	}
	if n.String() != s {
		tb.Fatalf("ParseName(%q) = %+v, whose String is %q", s, n, n)
	}
	if n.ID < 0 || n.ID > maxID || n.Shards < 1 || n.Shards > 99999 || n.Shard < 0 || n.Shard >= n.Shards {
		tb.Fatalf("ParseName(%q) = %+v, out of range", s, n)
	}
}

func TestParseNameWrongByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(genName().Draw(t, "name").String())
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		checkName(t, string(b))
	})
}

const aName = "promotions-20261122T103000123Z-00000-of-00001.pgen"

func TestParseNameErrors(t *testing.T) {
	if _, err := generation.ParseName(aName); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "x",
		aName + "x", "x" + aName, aName[1:], aName[:len(aName)-1],
		strings.ToUpper(aName),
		strings.TrimSuffix(aName, ".pgen") + ".PGEN",
		"." + aName + ".tmp",
		"/" + aName, "./" + aName,
		"promotions-20261122T103000123Z-00001-of-00001.pgen",
		"promotions-20261122T103000123Z-00000-of-00000.pgen",
		"promotions-20261122T103000123Z-+0000-of-00001.pgen",
		"promotions-20261122T103000123Z-00000-of-0x001.pgen",
		"promotions-20261122T103000123Z-0_000-of-00001.pgen",
		"promotions-20261122T103000123Z-0000-of-000001.pgen",
		"promotions-20261122T103000123z-00000-of-00001.pgen",
		"promotions-20261122 103000123Z-00000-of-00001.pgen",
		"promotions-20261322T103000123Z-00000-of-00001.pgen",
		"promotions-20260230T103000123Z-00000-of-00001.pgen",
		"promotions-20261122T240000123Z-00000-of-00001.pgen",
		"promotions-20261122T103060123Z-00000-of-00001.pgen",
		"promotions-20261122T103000-12Z-00000-of-00001.pgen",
		"promotions-20261122T103000+12Z-00000-of-00001.pgen",
		"promotions-20261122T1030001230-00000-of-00001.pgen",
		"promotions-19691231T235959000Z-00000-of-00001.pgen",
		"promotions-19600101T000000000Z-00000-of-00001.pgen",
		"promotions-00000101T000000000Z-00000-of-00001.pgen",
	} {
		if n, err := generation.ParseName(s); !errors.Is(err, generation.ErrName) {
			t.Errorf("ParseName(%q) = %+v, %v, want %v", s, n, err, generation.ErrName)
		}
	}
	for _, s := range []string{"", "20261122T103000123", "20261122T103000123z", " 20261122T103000123Z", "0", "19700101T000000-01Z"} {
		if id, err := generation.ParseID(s); !errors.Is(err, generation.ErrName) {
			t.Errorf("ParseID(%q) = %v, %v, want %v", s, id, err, generation.ErrName)
		}
	}
	for _, s := range []string{"19700101T000000000Z", "99991231T235959999Z"} {
		if id, err := generation.ParseID(s); err != nil || id.String() != s {
			t.Errorf("ParseID(%q) = %v, %v", s, id, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(aName)
	f.Add("promotions-99991231T235959999Z-99998-of-99999.pgen")
	f.Add("promotions-20261122T103000123Z-00001-of-00001.pgen")
	f.Add("promotions-19691231T235959000Z-00000-of-00001.pgen")
	f.Add("." + aName + ".tmp")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) { checkName(t, s) })
}
