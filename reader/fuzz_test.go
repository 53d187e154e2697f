package reader_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"promostore/format"
	"promostore/reader"
)

// isTyped reports whether err is one that callers can tell apart.
func isTyped(err error) bool {
	for _, kind := range [...]error{format.ErrFormat, format.ErrVersion, format.ErrTruncated, format.ErrChecksum, format.ErrCorrupt, format.ErrOrder, reader.ErrFault} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// FuzzOpen opens arbitrary bytes and looks up ids that are there, near by, and
// not there. With fix it makes the header's checksum right, so that more than
// the checksum is tried.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 1, 3, 127, 128, 129, 300} {
		for _, distribution := range []string{"v4", "v7", "same hi"} {
			path := filepath.Join(f.TempDir(), "f")
			writeFile(f, path, 1, makeKeys(distribution, n, 0))
			whole, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(whole, false, uint64(1), uint64(2))
			f.Add(whole, true, uint64(0), uint64(0))
			damaged := append([]byte(nil), whole...)
			for i := format.HeaderLen; i < len(damaged); i += 1000 {
				damaged[i] ^= 0xFF
			}
			f.Add(damaged, true, ^uint64(0), ^uint64(0))
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, fix bool, hi, lo uint64) {
		content = bytes.Clone(content) // a fuzz target must not change its input
		if fix && len(content) >= format.HeaderLen {
			const sumOff = format.HeaderLen - format.ChecksumLen
			binary.BigEndian.PutUint32(content[sumOff:], format.Checksum(content[:sumOff]))
		}
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, access := range accesses {
			file, err := reader.Open(path, access)
			if err != nil {
				if !isTyped(err) {
					t.Errorf("Open: %v", err)
				}
				continue
			}
			defer file.Close()
			// The oracle: what the bytes have, if they have it in order.
			records := format.Records(content[format.HeaderLen:][:file.Header().Records*format.RecordLen])
			oracle := map[format.Key]format.Record{}
			for _, r := range records {
				oracle[r.Key()] = r
			}
			verified := file.Verify(t.Context(), nil)
			if verified != nil && !isTyped(verified) {
				t.Errorf("Verify: %v", verified)
			}
			check := func(k format.Key) {
				got, found, err := file.Get(k)
				want, there := oracle[k]
				switch {
				case err != nil:
					if verified == nil || !isTyped(err) || found {
						t.Errorf("%v: Get(%s): %v, %v", access, k, found, err)
					}
				case found && verified == nil:
					if got != want || !there {
						t.Errorf("%v: Get(%s) = %x, want %x, %v", access, k, got, want, there)
					}
				case found: // one of several with this id, perhaps
					if got.Key() != k || !there {
						t.Errorf("%v: Get(%s) = %x", access, k, got)
					}
				case there && verified == nil:
					t.Errorf("%v: Get(%s) finds nothing", access, k)
				}
			}
			check(format.Key{Hi: hi, Lo: lo})
			for k := range oracle {
				check(k)
				check(plus(k, 1))
				check(minusOne(k))
				check(flip(k, int(hi%128)))
			}
			if err := file.Index().Fences(bytes.NewReader(content), func(_ int64, fence format.Key) { check(fence) }); err != nil {
				t.Error(err)
			}
		}
	})
}
