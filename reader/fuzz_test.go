package reader_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"promostore/format"
	"promostore/internal/gentest"
	"promostore/reader"
)

// FuzzOpen opens arbitrary bytes and looks up ids that are present, near them,
// and absent. With fix it corrects the checksum of the header, so that inputs
// get further than that.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 1, 3, 127, 128, 129, 300} {
		for _, distribution := range []string{"v4", "v7", "same first half"} {
			path := filepath.Join(f.TempDir(), "f")
			writeKeys(f, path, 1, makeKeys(distribution, n, 0))
			whole, err := os.ReadFile(path)
			gentest.Must(f, err)
			f.Add(whole, false, uint64(1), uint64(2))
			f.Add(whole, true, uint64(0), uint64(0))
			damaged := bytes.Clone(whole)
			for i := format.HeaderLen; i < len(damaged); i += 1000 {
				damaged[i] ^= 0xFF
			}
			f.Add(damaged, true, ^uint64(0), ^uint64(0))
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, fix bool, hi, lo uint64) {
		content = bytes.Clone(content) // a fuzz target must not modify its input
		if fix && len(content) >= format.HeaderLen {
			const sumOff = format.HeaderLen - format.ChecksumLen
			binary.BigEndian.PutUint32(content[sumOff:], format.Checksum(content[:sumOff]))
		}
		path := filepath.Join(t.TempDir(), "f")
		gentest.Must(t, os.WriteFile(path, content, 0o644))
		for _, access := range accesses {
			file, err := reader.Open(path, access)
			if err != nil {
				if !isTyped(err) {
					t.Errorf("Open: %v", err)
				}
				continue
			}
			defer file.Close()
			// The expected records, if the file is good.
			records := format.Records(content[format.HeaderLen:][:file.Header().Records*format.RecordLen])
			want := map[format.Key]format.Record{}
			for _, r := range records {
				want[r.Key()] = r
			}
			verifyErr := file.Verify(t.Context(), nil)
			if verifyErr != nil && !isTyped(verifyErr) {
				t.Errorf("Verify: %v", verifyErr)
			}
			good := verifyErr == nil
			check := func(k format.Key) {
				r, found, err := file.Get(k)
				wantRecord, present := want[k]
				switch {
				case err != nil:
					if good || !isTyped(err) || found {
						t.Errorf("%v: Get(%s): %t, %v", access, k, found, err)
					}
				case found && good:
					if r != wantRecord || !present {
						t.Errorf("%v: Get(%s) = %x, want %x, %t", access, k, r, wantRecord, present)
					}
				case found: // a bad file can have several records with this id
					if r.Key() != k || !present {
						t.Errorf("%v: Get(%s) = %x", access, k, r)
					}
				case present && good:
					t.Errorf("%v: Get(%s) finds nothing", access, k)
				}
			}
			check(format.Key{Hi: hi, Lo: lo})
			for k := range want {
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
