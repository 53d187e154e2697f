package gunzip_test

import (
	"bytes"
	"compress/flate"
	"hash/crc32"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

func crc32Of(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// A bitWriter writes a deflate stream.
type bitWriter struct {
	out  []byte
	word uint64
	n    int
}

// put writes the lowest n bits of v, the lowest first.
func (w *bitWriter) put(v uint64, n int) {
	w.word |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.word))
		w.word >>= 8
	}
}

// putCode writes the lowest n bits of v, the highest first.
func (w *bitWriter) putCode(v uint64, n int) {
	w.put(bits.Reverse64(v)>>(64-n), n)
}

func (w *bitWriter) align() {
	if w.n > 0 {
		w.put(0, 8-w.n)
	}
}

func (w *bitWriter) block(last bool, kind uint64) {
	v := uint64(0)
	if last {
		v = 1
	}
	w.put(v, 1)
	w.put(kind, 2)
}

func (w *bitWriter) fixedBlock(last bool) { w.block(last, 1) }
func (w *bitWriter) fixedEnd()            { w.putCode(0, 7) }

// fixedMatch writes a match of 3 to 10 bytes at a distance of 1 to 4.
func (w *bitWriter) fixedMatch(length, distance int) {
	w.putCode(uint64(length-2), 7)
	w.putCode(uint64(distance-1), 5)
}

// deflated returns a member whose deflate stream is that of write, with the
// checksum and the length of data.
func deflated(data string, write func(*bitWriter)) []byte {
	w := &bitWriter{}
	write(w)
	w.align()
	return member(w.out, []byte(data))
}

// member returns a member of a deflate stream, with the checksum and the length
// of data.
func member(stream, data []byte) []byte {
	w := &bitWriter{out: slices.Concat([]byte{0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255}, stream)}
	w.put(uint64(crc32Of(data)), 32)
	w.put(uint64(uint32(len(data))), 32)
	return w.out
}

// deflate returns data as the deflate stream of a member.
func deflate(t testing.TB, level int, data []byte) []byte {
	t.Helper()
	z := compress(t, level, data)
	return z[10 : len(z)-8]
}

// checkDeflate compares the decompression of a deflate stream with that of
// compress/flate. The checksum is that of the bytes of compress/flate, so that
// it hides no difference.
func checkDeflate(t *testing.T, stream []byte) {
	t.Helper()
	src := bytes.NewReader(stream)
	data, err := io.ReadAll(flate.NewReader(src))
	if err == nil {
		stream = stream[:len(stream)-src.Len()]
	}
	z := member(stream, data)
	check(t, z)
	if _, gotErr := decompress(z); err == nil && gotErr != nil {
		t.Fatalf("error %v, compress/flate has none, for %x", gotErr, stream)
	}
}

// A testCode is a random prefix code of some symbols.
type testCode struct {
	lens, codes []int // of each symbol; 0 for unused ones
	used        []int
}

// randomCode returns a complete code of n of the symbols below total, among them
// must, if it is not negative. deep makes long codes likely.
func randomCode(rng *rand.Rand, n, total, must int, deep bool) testCode {
	leaves := []int{0}
	for len(leaves) < n {
		i := rng.IntN(len(leaves))
		if deep {
			i = len(leaves) - 1
		}
		if leaves[i] == 15 {
			i = slices.IndexFunc(leaves, func(l int) bool { return l < 15 })
		}
		leaves[i]++
		leaves = append(leaves, leaves[i])
	}
	if n == 1 {
		leaves[0] = 1 // the one incomplete code that is valid
	}
	symbols := rng.Perm(total)[:n]
	if must >= 0 && !slices.Contains(symbols, must) {
		symbols[rng.IntN(n)] = must
	}
	if rng.IntN(2) == 0 { // most symbols are lengths
		slices.SortStableFunc(symbols, func(a, b int) int { return min(b, 257) - min(a, 257) })
	}
	c := testCode{lens: make([]int, total), codes: make([]int, total), used: symbols}
	for i, s := range symbols {
		c.lens[s] = leaves[i]
	}
	code := 0
	for l := 1; l <= 15; l++ {
		code <<= 1
		for s, sl := range c.lens {
			if sl == l {
				c.codes[s] = code
				code++
			}
		}
	}
	return c
}

func (w *bitWriter) symbol(c testCode, s int) { w.putCode(uint64(c.codes[s]), c.lens[s]) }

// dynamicHeader writes the lengths of the codes one by one: 13 of the 19 symbols
// of lengths have codes of 4 bits, the others of 5.
func (w *bitWriter) dynamicHeader(lit, dist testCode) {
	var c testCode
	c.lens, c.codes = make([]int, 19), make([]int, 19)
	for s := range 19 {
		if s < 13 {
			c.lens[s], c.codes[s] = 4, s
		} else {
			c.lens[s], c.codes[s] = 5, 26+s-13
		}
	}
	w.put(uint64(len(lit.lens)-257), 5)
	w.put(uint64(len(dist.lens)-1), 5)
	w.put(15, 4)
	for _, s := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} {
		w.put(uint64(c.lens[s]), 3)
	}
	for _, l := range slices.Concat(lit.lens, dist.lens) {
		w.symbol(c, l)
	}
}

// extraOfLength and extraOfDistance return the number of extra bits of a symbol;
// leastDistance returns its least value.
func extraOfLength(s int) int {
	if s == 285 {
		return 0
	}
	return max(0, (s-257)/4-1)
}

func extraOfDistance(s int) int { return max(0, s/2-1) }

func leastDistance(s int) int {
	d := 1
	for i := range s {
		d += 1 << extraOfDistance(i)
	}
	return d
}

// randomDeflate returns a valid deflate stream of blocks with random codes. The
// first block is stored, so that there is something to match.
func randomDeflate(rng *rand.Rand) []byte {
	w := &bitWriter{}
	history := 1 + rng.IntN(33_000)
	w.block(false, 0)
	w.align()
	w.put(uint64(history), 16)
	w.put(uint64(^uint16(history)), 16)
	for range history {
		w.put(uint64(rng.IntN(256)), 8)
	}
	blocks := 1 + rng.IntN(3)
	for i := range blocks {
		deep := rng.IntN(2) == 0
		total := 257 + rng.IntN(30)
		lit := randomCode(rng, 2+rng.IntN(total-1), total, 256, deep)
		dist := randomCode(rng, 1+rng.IntN(30), 30, -1, rng.IntN(2) == 0)
		w.block(i == blocks-1, 2)
		w.dynamicHeader(lit, dist)
		size := history
		for range rng.IntN(3000) {
			s := lit.used[rng.IntN(len(lit.used))]
			if deep && rng.IntN(2) == 0 { // the longest codes
				s = slices.MaxFunc(lit.used, func(a, b int) int { return lit.lens[a] - lit.lens[b] })
			}
			if s == 256 {
				continue
			}
			if s < 256 {
				w.symbol(lit, s)
				size++
				continue
			}
			d := dist.used[rng.IntN(len(dist.used))]
			extra := rng.IntN(1 << extraOfDistance(d))
			if leastDistance(d)+extra > size {
				continue
			}
			w.symbol(lit, s)
			n := extraOfLength(s)
			w.put(uint64(rng.IntN(1<<n)), n)
			w.symbol(dist, d)
			w.put(uint64(extra), extraOfDistance(d))
			size += 3
		}
		w.symbol(lit, 256)
		history = size
	}
	w.align()
	return w.out
}

// Random codes reach every kind of entry of the tables, and the longest codes
// every budget of bits.
func TestRandomCodes(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		stream := randomDeflate(rng)
		if _, err := io.ReadAll(flate.NewReader(bytes.NewReader(stream))); err != nil {
			t.Fatalf("compress/flate refuses the stream: %v", err)
		}
		checkDeflate(t, stream)
	}
}

// Damaged streams of random codes, with a checksum that fits.
func TestDamagedDeflate(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	var streams [][]byte
	for range 20 {
		streams = append(streams, randomDeflate(rng))
	}
	for _, data := range samples(t) {
		for _, level := range []int{flate.HuffmanOnly, 1, 6} {
			streams = append(streams, deflate(t, level, data[:min(len(data), 20_000)]))
		}
	}
	for range 2000 {
		damaged := bytes.Clone(streams[rng.IntN(len(streams))])
		for range 1 + rng.IntN(3) {
			n := len(damaged)
			if rng.IntN(2) == 0 { // the header of the first block
				n = min(n, 100)
			}
			damaged[rng.IntN(n)] ^= 1 << rng.IntN(8)
		}
		checkDeflate(t, damaged)
	}
}

// Codes that are incomplete or over-subscribed, and symbols without a meaning.
func TestInvalidCodes(t *testing.T) {
	code := func(lens ...int) testCode {
		c := testCode{lens: make([]int, 286)}
		copy(c.lens[250:], lens)
		return c
	}
	none := testCode{lens: []int{0}}
	for name, c := range map[string]struct{ lit, dist testCode }{
		"no end of block":         {code(1, 1), none},
		"only end of block":       {code(0, 0, 0, 0, 0, 0, 1), none},
		"one code of two bits":    {code(0, 0, 0, 0, 0, 0, 2), none},
		"incomplete":              {code(2, 2, 0, 0, 0, 0, 2), none},
		"over-subscribed":         {code(1, 1, 0, 0, 0, 0, 1), none},
		"one distance of one bit": {code(0, 0, 0, 0, 0, 0, 1, 1), testCode{lens: []int{1}}},
		"one distance of two":     {code(0, 0, 0, 0, 0, 0, 1, 1), testCode{lens: []int{2}}},
		"no distance":             {code(0, 0, 0, 0, 0, 0, 1, 1), none},
	} {
		t.Run(name, func(t *testing.T) {
			for tail := range uint64(256) {
				w := &bitWriter{}
				w.block(true, 2)
				w.dynamicHeader(c.lit, c.dist)
				w.put(tail, 8)
				w.put(0, 32)
				checkDeflate(t, w.out)
			}
		})
	}
	for tail := range uint64(1 << 12) {
		w := &bitWriter{}
		w.fixedBlock(true)
		w.put(tail, 12)
		w.put(0, 32)
		checkDeflate(t, w.out)
	}
}

func FuzzDeflate(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 5 {
		f.Add(randomDeflate(rng)[:500])
	}
	for _, data := range samples(f) {
		f.Add(deflate(f, 6, data[:min(len(data), 1000)]))
	}
	f.Fuzz(checkDeflate)
}

func FuzzGzip(f *testing.F) {
	for _, data := range samples(f) {
		f.Add(compress(f, 6, data[:min(len(data), 1000)]))
	}
	f.Fuzz(check)
}
