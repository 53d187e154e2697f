package gunzip_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"promostore/internal/gunzip"
)

// endBlock is the empty member with which bgzip ends a file; SAM specification,
// section 4.1.2.
const endBlock = "\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x06\x00BC\x02\x00\x1b\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// bgzfBlock returns a member of at most 64 KiB of data that tells its length.
func bgzfBlock(t testing.TB, level int, data []byte) []byte {
	t.Helper()
	z := compress(t, level, data)
	z = slices.Concat(z[:3], []byte{4}, z[4:10], []byte{6, 0, 'B', 'C', 2, 0, 0, 0}, z[10:])
	setLen(z, len(z))
	return z
}

// setLen makes a block tell that it has n bytes.
func setLen(block []byte, n int) { block[16], block[17] = byte(n-1), byte((n-1)>>8) }

// bgzf returns data as blocks of size bytes, with their offsets.
func bgzf(t testing.TB, level, size int, data []byte) (z []byte, offsets []int) {
	t.Helper()
	for part := range slices.Chunk(data, size) {
		offsets = append(offsets, len(z))
		z = append(z, bgzfBlock(t, level, part)...)
	}
	return append(z, endBlock...), append(offsets, len(z))
}

type nextReader interface {
	io.Reader
	Next() error
}

// result is everything that a caller sees of a stream: the data and the error of
// each member.
func result(r nextReader) (members [][]byte, err error) {
	for {
		if err := r.Next(); err != nil {
			return members, err
		}
		data, err := io.ReadAll(r)
		members = append(members, data)
		if err != nil {
			return members, err
		}
	}
}

// checkBlocks compares a BlockReader with a Reader.
func checkBlocks(t *testing.T, open func() io.Reader) {
	t.Helper()
	serial := readers.Get().(*gunzip.Reader)
	defer readers.Put(serial)
	serial.Reset(open())
	want, wantErr := result(serial)
	for _, decoders := range []int{1, 3} {
		r := gunzip.NewBlockReader(open(), decoders)
		got, err := result(r)
		if again := r.Next(); !errors.Is(again, err) {
			t.Errorf("error %v, then %v", err, again)
		}
		r.Close()
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%d decoders: error %v, want %v", decoders, err, wantErr)
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%d decoders: %d members of %d bytes, want %d of %d", decoders, len(got), len(bytes.Join(got, nil)), len(want), len(bytes.Join(want, nil)))
		}
	}
}

func TestBlocks(t *testing.T) {
	rows := samples(t)["rows"][:300_000]
	z, offsets := bgzf(t, 6, 10_000, rows)
	stored, _ := bgzf(t, 0, 0xFF00, samples(t)["random"])
	small, _ := bgzf(t, 1, 100, rows[:50_000])
	ordinary := compress(t, 6, rows)
	extra := slices.Clone(bgzfBlock(t, 6, rows[:1000]))
	extra = slices.Concat(extra[:10], []byte{12, 0, 'X', 'Y', 2, 0, 1, 2}, extra[12:])
	setLen(extra[6:], len(extra))
	for name, data := range map[string][]byte{
		"blocks":                        z,
		"no empty block at the end":     z[:len(z)-len(endBlock)],
		"stored":                        stored,
		"small":                         small,
		"only the empty block":          []byte(endBlock),
		"nothing":                       {},
		"ordinary":                      ordinary,
		"blocks, then ordinary":         slices.Concat(z, ordinary),
		"ordinary, then blocks":         slices.Concat(compress(t, 6, rows[:30]), z),
		"ordinary amid blocks":          slices.Concat(z, ordinary, z, ordinary, z),
		"empty blocks":                  slices.Concat(bytes.Repeat([]byte(endBlock), 100), z),
		"another extra field":           slices.Concat(z, extra, z),
		"zeros at the end":              slices.Concat(z, make([]byte, 100_000)),
		"zeros and blocks":              slices.Concat(z, make([]byte, 10), z),
		"text at the end":               slices.Concat(z, rows[:1000]),
		"one byte at the end":           slices.Concat(z, []byte{0x1F}),
		"start of a member at the end":  slices.Concat(z, z[:12]),
		"start of a block at the end":   slices.Concat(z, z[:1000]),
		"more than 64 KiB in a block":   slices.Concat(bgzfBlock(t, 9, make([]byte, 100_000)), z),
		"exactly 64 KiB in a block":     slices.Concat(bgzfBlock(t, 9, make([]byte, 65536)), z),
		"flat after an ordinary member": slices.Concat(ordinary, []byte(endBlock)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkBlocks(t, func() io.Reader { return bytes.NewReader(data) })
			checkBlocks(t, func() io.Reader { return &shortReader{data, 1000} })
		})
	}
	t.Run("wrong lengths", func(t *testing.T) {
		t.Parallel()
		for _, i := range []int{0, 1, 9, len(offsets) - 2} {
			length := offsets[i+1] - offsets[i]
			if i == len(offsets)-2 {
				length -= len(endBlock)
			}
			for _, n := range []int{1, 17, 18, 100, length - 8, length - 1, length + 1, length + 18, length + 28, length + 1000, 2 * length, 65536} {
				damaged := slices.Clone(z)
				setLen(damaged[offsets[i]:], n)
				checkBlocks(t, func() io.Reader { return bytes.NewReader(damaged) })
			}
		}
		one := bgzfBlock(t, 6, rows[:100])
		setLen(one, len(one)+len(endBlock)) // two valid members in one block
		checkBlocks(t, func() io.Reader { return bytes.NewReader(slices.Concat(one, []byte(endBlock), z)) })
		setLen(one, len(one)+5) // zeros in a block
		checkBlocks(t, func() io.Reader { return bytes.NewReader(slices.Concat(one, make([]byte, 5), z)) })
		checkBlocks(t, func() io.Reader { return bytes.NewReader(slices.Concat(one, make([]byte, 5))) })
	})
	t.Run("damage", func(t *testing.T) {
		t.Parallel()
		rng := rand.New(rand.NewPCG(9, 10))
		for range 100 {
			damaged := slices.Clone(z)
			at := rng.IntN(len(z))
			if rng.IntN(2) == 0 { // a header or a trailer
				at = max(0, offsets[rng.IntN(len(offsets))]-10+rng.IntN(28)) % len(z)
			}
			damaged[at] ^= 1 << rng.IntN(8)
			checkBlocks(t, func() io.Reader { return bytes.NewReader(damaged) })
		}
	})
	t.Run("truncated", func(t *testing.T) {
		t.Parallel()
		for n := 0; n < len(small); n += 1 + n/50 {
			checkBlocks(t, func() io.Reader { return bytes.NewReader(small[:n]) })
		}
		failed := errors.New("disk failed")
		for _, n := range []int{0, 17, offsets[1], offsets[1] + 5, offsets[1] + 1000, len(z) / 2, len(z)} {
			r := gunzip.NewBlockReader(io.MultiReader(bytes.NewReader(z[:n]), iotest.ErrReader(failed)), 2)
			if _, err := result(r); !errors.Is(err, failed) {
				t.Errorf("after %d bytes: error %v", n, err)
			}
			r.Close()
		}
	})
}

// The offset of damage is one of the stream and not of the block.
func TestDamagedBlockNamesTheOffset(t *testing.T) {
	z, offsets := bgzf(t, 6, 0xFF00, samples(t)["rows"])
	z[offsets[7]-8] ^= 1 // the checksum of the block before
	r := gunzip.NewBlockReader(bytes.NewReader(z), 2)
	defer r.Close()
	members, err := result(r)
	damage := new(gunzip.Error)
	if !errors.As(err, &damage) || !errors.Is(err, gunzip.ErrChecksum) || damage.Offset != int64(offsets[7]) || len(members) != 7 {
		t.Errorf("%d members, error %v; want ErrChecksum at %d", len(members), err, offsets[7])
	}
}

// Close ends the decoders wherever the caller stops.
func TestBlockReaderIsClosedEarly(t *testing.T) {
	z, _ := bgzf(t, 6, 0xFF00, samples(t)["rows"])
	for n := range 20 {
		r := gunzip.NewBlockReader(bytes.NewReader(z), 3)
		for range n {
			if err := r.Next(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
		r.Close()
	}
}

func FuzzBlocks(f *testing.F) {
	rows := samples(f)["rows"]
	z, _ := bgzf(f, 6, 100, rows[:500])
	f.Add(z)
	f.Add(slices.Concat(z, compress(f, 6, rows[:100]), z))
	f.Add([]byte(endBlock))
	f.Fuzz(func(t *testing.T, z []byte) {
		checkBlocks(t, func() io.Reader { return bytes.NewReader(z) })
	})
}
