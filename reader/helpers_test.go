package reader_test

import (
	"errors"
	"math/bits"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

var accesses = []reader.Access{reader.AccessMmap, reader.AccessPread}

// writeKeys writes a file at path with a record for each of keys, which must be
// sorted.
func writeKeys(t gentest.T, path string, id generation.ID, keys []format.Key) {
	t.Helper()
	gentest.WriteSeq(t, path, id, len(keys), func(yield func(format.Record) bool) {
		for _, k := range keys {
			if !yield(recordOf(k)) {
				return
			}
		}
	})
}

// publish writes a generation into dir and returns the path of its file.
func publish(t gentest.T, dir string, id generation.ID, keys []format.Key) string {
	t.Helper()
	path := gentest.Path(dir, id)
	writeKeys(t, path, id, keys)
	return path
}

// recordOf returns a record with a pseudorandom price and date.
func recordOf(k format.Key) format.Record {
	h := mix(k.Hi ^ mix(k.Lo))
	return format.MakeRecord(k, h&1 == 1, format.Price{Digits: h >> 16, Scale: 2}, 63_000_000_000+h&0xFFFFF, 0)
}

// mix is the finalizer of splitmix64, a bijection.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// distributions maps the name of a distribution of ids to a function that
// returns the id with number i. The ids need not be sorted or distinct.
var distributions = map[string]func(i uint64) format.Key{
	"v4": func(i uint64) format.Key {
		return format.Key{Hi: mix(i)&^0xF000 | 0x4000, Lo: mix(^i)&^(3<<62) | 2<<62}
	},
	"v7": func(i uint64) format.Key {
		return format.Key{Hi: (1_700_000_000_000+i/50)<<16 | 0x7000 | mix(i)&0xFFF, Lo: mix(^i)&^(3<<62) | 2<<62}
	},
	"v7 and outliers": func(i uint64) format.Key {
		switch i {
		case 0:
			return format.Key{}
		case 1:
			return format.Key{Hi: ^uint64(0), Lo: ^uint64(0)}
		}
		return format.Key{Hi: (1_700_000_000_000+i)<<16 | 0x7000, Lo: 2<<62 | i}
	},
	"three clusters": func(i uint64) format.Key { return format.Key{Hi: 1 << (i % 3 * 31), Lo: mix(i)} },
	"sequential": func(i uint64) format.Key {
		return plus(format.Key{Hi: 0x123456789ABCDEF0, Lo: ^uint64(0) - 700}, i)
	},
	"same prefix":     func(i uint64) format.Key { return format.Key{Hi: 0xABCDEF0123456000 + i>>9, Lo: mix(i)} },
	"same first half": func(i uint64) format.Key { return format.Key{Hi: 7, Lo: mix(i)} },
	"powers of two":   func(i uint64) format.Key { return format.Key{Hi: 1 << (i % 64), Lo: 1<<(i/64%64) + i>>12} },
	"dense near zero": func(i uint64) format.Key { return format.Key{Hi: mix(i) >> (i % 60), Lo: i} },
}

// makeKeys returns about n keys, sorted and distinct.
func makeKeys(distribution string, n int, seed uint64) []format.Key {
	keys := make([]format.Key, n)
	for i := range keys {
		keys[i] = distributions[distribution](seed + uint64(i))
	}
	slices.SortFunc(keys, format.Key.Compare)
	return slices.Compact(keys)
}

// plus returns k + n, modulo 2^128.
func plus(k format.Key, n uint64) format.Key {
	lo, carry := bits.Add64(k.Lo, n, 0)
	return format.Key{Hi: k.Hi + carry, Lo: lo}
}

// minusOne returns k - 1, modulo 2^128.
func minusOne(k format.Key) format.Key {
	lo, borrow := bits.Sub64(k.Lo, 1, 0)
	return format.Key{Hi: k.Hi - borrow, Lo: lo}
}

// flip returns k with one bit inverted.
func flip(k format.Key, bit int) format.Key {
	if bit < 64 {
		k.Hi ^= 1 << bit
	} else {
		k.Lo ^= 1 << (bit - 64)
	}
	return k
}

// open opens the file at path. The test closes it at the end.
func open(t testing.TB, path string, access reader.Access) *reader.File {
	t.Helper()
	f, err := reader.Open(path, access)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func verify(t testing.TB, f *reader.File) {
	t.Helper()
	if err := f.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func setTime(t *testing.T, path string, modified time.Time) {
	t.Helper()
	gentest.Must(t, os.Chtimes(path, modified, modified))
}

// changeTime returns the ctime of the file at path, which no program can set.
func changeTime(t *testing.T, path string) unix.Timespec {
	t.Helper()
	var stat unix.Stat_t
	gentest.Must(t, unix.Stat(path, &stat))
	return stat.Ctim
}

// openFiles returns the number of mappings and of descriptors that the process
// has of files below dir.
func openFiles(t *testing.T, dir string) (mappings, descriptors int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	gentest.Must(t, err)
	entries, err := os.ReadDir("/proc/self/fd")
	gentest.Must(t, err)
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
			descriptors++
		}
	}
	return strings.Count(string(text), dir), descriptors
}

// isTyped reports whether err wraps one of the errors that Open and Get
// document.
func isTyped(err error) bool {
	for _, kind := range [...]error{format.ErrFormat, format.ErrVersion, format.ErrTruncated, format.ErrChecksum, format.ErrCorrupt, format.ErrOrder, reader.ErrFault} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
