//go:build campaign

package reader_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"promostore/format"
	"promostore/internal/campaign"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestCampaignMutants opens generation files whose structure is wrong although
// all checksums are right. Every error must be typed, and a file that passes
// Verify must answer according to its own records.
func TestCampaignMutants(t *testing.T) {
	random := campaign.Random(t)
	var whole [][]byte
	for _, distribution := range []string{"v4", "v7", "same first half", "dense near zero"} {
		for _, n := range []int{1, 127, 128, 300, 640} {
			path := filepath.Join(t.TempDir(), "f")
			writeKeys(t, path, 1, makeKeys(distribution, n, random.Uint64N(1<<30)))
			content, err := os.ReadFile(path)
			gentest.Must(t, err)
			whole = append(whole, content)
		}
	}
	amount := campaign.Amount(t, 41_000)
	path := filepath.Join(t.TempDir(), "f")
	refused, good, lookups := 0, 0, 0
	for i := range amount {
		b := campaign.Pick(random, whole)
		m := &mutant{layout: layoutOf(b), b: bytes.Clone(b)}
		for range 1 + random.IntN(3) {
			m.damage(random)
		}
		m.reseal(random)
		gentest.Must(t, os.WriteFile(path, m.b, 0o644))
		hang := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("mutant %d hangs: %v", i, m.done)) })
		for _, access := range accesses {
			n, ok := m.check(t, path, access, random)
			lookups += n
			if ok {
				good++
			} else {
				refused++
			}
		}
		hang.Stop()
		if t.Failed() {
			t.Fatalf("mutant %d: %v", i, m.done)
		}
	}
	t.Logf("%d mutants, each with both accesses: %d refused, %d valid; %d lookups", amount, refused, good, lookups)
}

// A mutant is a generation file with damage.
type mutant struct {
	layout
	b    []byte
	done []string // the damage
}

// A layout holds the offsets of the regions.
type layout struct{ blocks, fences, checksums, trailer int }

// layoutOf returns the layout according to the header of a file.
func layoutOf(b []byte) layout {
	records := binary.BigEndian.Uint64(b[32:]) % (1 << 20)
	n := int(records+format.RecordsPerBlock-1) / format.RecordsPerBlock
	l := layout{blocks: format.HeaderLen}
	l.fences = l.blocks + n*format.BlockLen
	l.checksums = l.fences + n*format.KeyLen
	l.trailer = l.checksums + n*format.ChecksumLen
	return l
}

// Fields of the header and of the trailer: offset and length, as in format/doc.go.
var (
	headerFields  = [][2]int{{0, 8}, {8, 4}, {12, 4}, {16, 4}, {20, 4}, {24, 4}, {28, 4}, {32, 8}, {40, 8}, {48, 8}, {56, 8}, {64, 8}, {72, 8}, {80, 8}, {88, 8}, {96, 8}, {104, 8}, {112, 4}, {4088, 4}}
	trailerFields = [][2]int{{0, 4}, {4, 4}, {8, 4}, {12, 4}, {16, 1}, {17, 1}, {18, 2}, {20, 1}}
	values        = []uint64{0, 1, 2, 127, 128, 129, 255, 1 << 15, 1<<16 - 1, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 40, 1<<40 + 1, 1<<59 + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}
)

// damage changes the structure at one place.
func (m *mutant) damage(random *rand.Rand) {
	note := func(format string, args ...any) { m.done = append(m.done, fmt.Sprintf(format, args...)) }
	unit := func(lo, hi, length int) []byte { // one of the units between two offsets
		hi = min(hi, len(m.b))
		if hi-lo < length {
			return make([]byte, length)
		}
		at := lo + random.IntN((hi-lo)/length)*length
		return m.b[at : at+length]
	}
	switch random.IntN(8) {
	case 0, 1:
		f := campaign.Pick(random, headerFields)
		note("header field %d: %x", f[0], m.set(0, f, random))
	case 2:
		f := campaign.Pick(random, trailerFields)
		note("trailer field %d: %x", f[0], m.set(m.trailer, f, random))
	case 3:
		a, b := unit(m.fences, m.checksums, format.KeyLen), unit(m.fences, m.checksums, format.KeyLen)
		note("fence %s", change(a, b, random))
	case 4:
		a, b := unit(m.blocks, m.fences, format.RecordLen), unit(m.blocks, m.fences, format.RecordLen)
		if random.IntN(2) == 0 {
			a, b = a[:format.KeyLen], b[:format.KeyLen]
		}
		note("record %s", change(a, b, random))
	case 5: // price, scale, style or time
		r := unit(m.blocks, m.fences, format.RecordLen)
		r[format.KeyLen+random.IntN(format.RecordLen-format.KeyLen)] ^= 1 << random.IntN(8)
		note("bit of a price or date")
	case 6:
		a, b := unit(m.blocks, m.fences, format.BlockLen), unit(m.blocks, m.fences, format.BlockLen)
		note("block %s", change(a, b, random))
	case 7: // insert or remove bytes, and correct the length or not
		at := campaign.Pick(random, []int{m.blocks, m.fences, m.checksums, m.trailer, len(m.b)})
		n := campaign.Pick(random, []int{1, format.ChecksumLen, format.KeyLen, format.RecordLen, format.BlockLen})
		at = min(at, len(m.b))
		if random.IntN(2) == 0 {
			m.b = append(m.b[:at:at], append(make([]byte, n), m.b[at:]...)...)
			note("%d bytes inserted at %d", n, at)
		} else {
			m.b = append(m.b[:at:at], m.b[min(at+n, len(m.b)):]...)
			note("%d bytes removed at %d", n, at)
		}
		if random.IntN(4) > 0 && len(m.b) >= format.HeaderLen {
			binary.BigEndian.PutUint64(m.b[104:], uint64(len(m.b)))
		}
	}
}

// set sets a field to a special value, or adds to it.
func (m *mutant) set(base int, field [2]int, random *rand.Rand) []byte {
	at, n := base+field[0], field[1]
	if at+n > len(m.b) {
		return nil
	}
	var word [8]byte
	copy(word[8-n:], m.b[at:at+n])
	v := binary.BigEndian.Uint64(word[:])
	switch random.IntN(3) {
	case 0:
		v = campaign.Pick(random, values)
	case 1:
		v += campaign.Pick(random, values)
	default:
		v ^= 1 << random.IntN(8*n)
	}
	binary.BigEndian.PutUint64(word[:], v)
	return m.b[at : at+copy(m.b[at:at+n], word[8-n:])]
}

// change changes a, another unit like b, and returns how.
func change(a, b []byte, random *rand.Rand) string {
	switch random.IntN(6) {
	case 0:
		other := bytes.Clone(a)
		copy(a, b)
		copy(b, other)
		return "swapped"
	case 1:
		copy(a, b)
		return "duplicated"
	case 2:
		clear(a)
		return "cleared"
	case 3:
		for i := range a {
			a[i] = 0xFF
		}
		return "filled"
	case 4:
		a[min(len(a), format.KeyLen)-1]++
		return "incremented"
	default:
		a[random.IntN(len(a))] ^= 1 << random.IntN(8)
		return "with another bit"
	}
}

// reseal recomputes all checksums, in the original layout or in that of the
// header.
func (m *mutant) reseal(random *rand.Rand) {
	if len(m.b) < format.HeaderLen {
		return
	}
	b, l := m.b, m.layout
	if random.IntN(2) == 0 {
		l = layoutOf(b)
	}
	put := func(at, lo, hi int) {
		if lo <= hi && hi <= len(b) && at+format.ChecksumLen <= len(b) {
			binary.BigEndian.PutUint32(b[at:], format.Checksum(b[lo:hi]))
		}
	}
	for i := 0; l.blocks+i*format.BlockLen < l.fences; i++ {
		put(l.checksums+i*format.ChecksumLen, l.blocks+i*format.BlockLen, l.blocks+(i+1)*format.BlockLen)
	}
	put(l.trailer, l.fences, l.checksums)
	put(l.trailer+4, l.checksums, l.trailer)
	put(len(b)-format.ChecksumLen, l.trailer, len(b)-format.ChecksumLen)
	put(format.HeaderLen-format.ChecksumLen, 0, format.HeaderLen-format.ChecksumLen)
}

// check opens the file and looks ids up before and after Verify. It returns the
// number of lookups and whether the file is good.
func (m *mutant) check(t *testing.T, path string, access reader.Access, random *rand.Rand) (lookups int, good bool) {
	f, err := reader.Open(path, access)
	if err != nil {
		if !isTyped(err) {
			t.Errorf("%v: Open: %v", access, err)
		}
		return 0, false
	}
	defer f.Close()
	records := format.Records(m.b[format.HeaderLen:][:f.Header().Records*format.RecordLen])
	model := map[format.Key]format.Record{}
	var keys []format.Key
	for _, r := range records {
		model[r.Key()] = r
		keys = append(keys, r.Key(), plus(r.Key(), 1), minusOne(r.Key()), flip(r.Key(), random.IntN(128)))
	}
	keys = append(keys, format.Key{}, format.Key{Hi: ^uint64(0), Lo: ^uint64(0)})
	lookUp := func() {
		for range 64 {
			k := campaign.Pick(random, keys)
			r, found, err := f.Get(k)
			want, present := model[k]
			wrong := found && (r.Key() != k || !present) || good && (found != present || r != want)
			if err != nil {
				wrong = good || found || !isTyped(err)
			}
			if wrong {
				t.Errorf("%v: good %t: Get(%s) = %x, %t, %v; want %x, %t", access, good, k, r, found, err, want, present)
			}
			lookups++
		}
		got, found := make([]format.Record, len(keys)), make([]bool, len(keys))
		err := f.GetBatch(keys, got, found)
		lookups += len(keys)
		if err != nil {
			if good || !isTyped(err) {
				t.Errorf("%v: good %t: GetBatch: %v", access, good, err)
			}
			return
		}
		for i, k := range keys {
			want, present := model[k]
			if found[i] && (got[i].Key() != k || !present) || good && (found[i] != present || found[i] && got[i] != want) {
				t.Errorf("%v: good %t: GetBatch: %s: %x, %t; want %x, %t", access, good, k, got[i], found[i], want, present)
			}
		}
	}
	lookUp()
	err = f.Verify(t.Context(), nil)
	if err != nil && !isTyped(err) {
		t.Errorf("%v: Verify: %v", access, err)
	}
	good = err == nil
	lookUp()
	return lookups, good
}
