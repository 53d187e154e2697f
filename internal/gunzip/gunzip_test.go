package gunzip_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"promostore/internal/gunzip"
	"promostore/internal/synth"
)

// compress returns data as one member.
func compress(t testing.TB, level int, data []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

// readers saves the tests of thousands of streams the time to clear memory.
var readers = sync.Pool{New: func() any { return gunzip.NewReader(nil) }}

// decompress returns the bytes and the error that a Reader of z returns.
func decompress(z []byte) ([]byte, error) {
	r := readers.Get().(*gunzip.Reader)
	defer readers.Put(r)
	r.Reset(bytes.NewReader(z))
	return readAll(r)
}

// readAll returns the data of all members.
func readAll(r *gunzip.Reader) ([]byte, error) {
	var all bytes.Buffer
	for {
		if err := r.Next(); err == io.EOF { //nolint:errorlint // a wrapped EOF is an error
			return all.Bytes(), nil
		} else if err != nil {
			return all.Bytes(), err
		}
		if _, err := all.ReadFrom(r); err != nil {
			return all.Bytes(), err
		}
	}
}

// reference returns the bytes and the error of compress/gzip.
func reference(z []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(z))
	if err == io.EOF { //nolint:errorlint // no member at all
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// check compares the Reader with compress/gzip: the same bytes, or an error from
// both. Zeros after the last member are no error for the Reader.
func check(t *testing.T, z []byte) {
	t.Helper()
	want, wantErr := reference(z)
	got, err := decompress(z)
	if wantErr != nil && err == nil {
		if last := bytes.TrimRight(z, "\x00"); len(last) < len(z) {
			for n := len(last); n < len(z) && wantErr != nil; n++ { // zeros may belong to the trailer
				want, wantErr = reference(z[:n])
			}
		}
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v, compress/gzip has %v, for %x", err, wantErr, z)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%d bytes differ from the %d of compress/gzip, for %x", len(got), len(want), z)
	}
	if err != nil && !bytes.HasPrefix(want, got) {
		t.Fatalf("%d bytes before %v are no prefix of the %d of compress/gzip, for %x", len(got), err, len(want), z)
	}
	if damage := new(gunzip.Error); err != nil && (!errors.As(err, &damage) || damage.Offset < 0 || damage.Offset > int64(len(z))) {
		t.Fatalf("error %v of %d bytes", err, len(z))
	}
}

// samples are data of different kinds.
func samples(t testing.TB) map[string][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 1<<20)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	binary := make([]byte, 1<<20)
	skewed := make([]byte, 1<<20)
	for i := range binary {
		binary[i] = "01"[rng.IntN(2)]
		skewed[i] = byte(rng.ExpFloat64() * 3)
	}
	var periods []byte
	for n := 1; n < 40; n++ {
		periods = append(periods, bytes.Repeat(random[n*50:n*50+n], 300)...)
	}
	var rows bytes.Buffer
	if _, err := (synth.DataSet{Rows: 20_000}).WriteTo(&rows); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"empty":         {},
		"one byte":      {'x'},
		"zeros":         make([]byte, 3<<20),
		"random":        random,
		"two letters":   binary,
		"skewed":        skewed,
		"short periods": periods,
		"far matches":   slices.Concat(random[:32768], random[:32768], random[:32768]),
		"rows":          rows.Bytes(),
	}
}

func TestRoundTrip(t *testing.T) {
	for name, data := range samples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for level := gzip.HuffmanOnly; level <= gzip.BestCompression; level++ {
				got, err := decompress(compress(t, level, data))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("level %d: %d bytes, error %v; want %d bytes", level, len(got), err, len(data))
				}
			}
		})
	}
}

func TestMembersAreConcatenated(t *testing.T) {
	rows := samples(t)["rows"]
	z := slices.Concat(compress(t, 6, rows), compress(t, 6, nil), compress(t, 0, rows), compress(t, 1, rows[:10]))
	got, err := decompress(z)
	if want := slices.Concat(rows, rows, rows[:10]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, error %v; want %d bytes", len(got), err, len(want))
	}
}

// Next and Read tell the members apart.
func TestMembersAreApart(t *testing.T) {
	rows := samples(t)["rows"]
	r := gunzip.NewReader(bytes.NewReader(slices.Concat(compress(t, 1, rows), compress(t, 6, nil), compress(t, 6, rows[:10]))))
	for _, want := range [][]byte{rows, {}, rows[:10]} {
		if err := r.Next(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the end stays the end
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, error %v; want %d bytes", len(got), err, len(want))
			}
			want = nil
		}
	}
	for range 2 {
		if err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last member: error %v", err)
		}
	}
}

// A match must not reach back into the member before.
func TestMatchesDoNotLeaveTheirMember(t *testing.T) {
	first := compress(t, 6, []byte("promotion"))
	second := deflated("promotion", func(w *bitWriter) {
		w.fixedBlock(true)
		w.fixedMatch(3, 4) // 4 bytes before the member
		w.fixedEnd()
	})
	check(t, slices.Concat(first, second))
	if _, err := decompress(slices.Concat(first, second)); !errors.Is(err, gunzip.ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
}

// The input may come in pieces of any size.
func TestShortReads(t *testing.T) {
	rows := samples(t)["rows"][:200_000]
	for _, level := range []int{0, 1, 6} {
		z := compress(t, level, rows)
		z = slices.Concat(z, z)
		for name, r := range map[string]io.Reader{
			"one byte":       iotest.OneByteReader(bytes.NewReader(z)),
			"half":           iotest.HalfReader(bytes.NewReader(z)),
			"EOF with data":  iotest.DataErrReader(bytes.NewReader(z)),
			"nothing at all": &hesitant{r: bytes.NewReader(z)},
		} {
			got, err := readAll(gunzip.NewReader(r))
			if err != nil || !bytes.Equal(got, slices.Concat(rows, rows)) {
				t.Errorf("level %d, %s: %d bytes, error %v", level, name, len(got), err)
			}
		}
	}
}

// A stored block begins with bytes that may have been loaded into the word of bits
// before the input before them was dropped.
func TestStoredBlocksAfterShortReads(t *testing.T) {
	data := ""
	z := deflated(data, func(w *bitWriter) {
		for i := range 200 {
			w.fixedBlock(false)
			for range i % 13 {
				w.putCode(0x30+'x', 8)
				data += "x"
			}
			w.fixedEnd()
			w.block(false, 0)
			w.align()
			w.put(3, 16)
			w.put(^uint64(3)&0xFFFF, 16)
			w.put('a'|'b'<<8|'c'<<16, 24)
			data += "abc"
		}
		w.fixedBlock(true)
		w.fixedEnd()
	})
	z = append(z[:len(z)-8], member(nil, []byte(data))[10:]...)
	check(t, z)
	for n := 1; n < 70; n++ {
		got, err := readAll(gunzip.NewReader(&shortReader{z, n}))
		if err != nil || string(got) != data {
			t.Fatalf("reads of %d bytes: %d bytes, error %v", n, len(got), err)
		}
	}
}

// A shortReader returns at most n bytes from each Read.
type shortReader struct {
	data []byte
	n    int
}

func (s *shortReader) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.n)], s.data)
	s.data = s.data[n:]
	return n, nil
}

// A hesitant reader returns nothing from every other Read.
type hesitant struct {
	r     io.Reader
	waits bool
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.waits = !h.waits; h.waits {
		return 0, nil
	}
	return h.r.Read(p[:min(len(p), 1000)])
}

// An error of the source comes back as it is, and again.
func TestSourceErrors(t *testing.T) {
	z := compress(t, 6, samples(t)["rows"])
	failed := errors.New("disk failed")
	for _, n := range []int{0, 5, 10, 11, 1000, len(z) / 2, len(z) - 8, len(z) - 1, len(z)} {
		r := gunzip.NewReader(io.MultiReader(bytes.NewReader(z[:n]), iotest.ErrReader(failed)))
		_, err := readAll(r)
		if !errors.Is(err, failed) {
			t.Errorf("after %d bytes: error %v", n, err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, failed) {
			t.Errorf("after %d bytes, again: error %v", n, err)
		}
	}
}

func TestTruncatedAtEveryLength(t *testing.T) {
	t.Parallel()
	data := samples(t)["rows"][:3000]
	for _, level := range []int{gzip.HuffmanOnly, 0, 1, 6} {
		z := compress(t, level, data)
		for n := range z {
			check(t, z[:n])
			_, err := decompress(z[:n])
			if n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("level %d, %d of %d bytes: error %v", level, n, len(z), err)
			}
			if damage := new(gunzip.Error); errors.As(err, &damage) && damage.Offset != int64(n) {
				t.Errorf("level %d: truncated at %d, reported at %d", level, n, damage.Offset)
			}
		}
	}
}

func TestBitFlippedInEveryByte(t *testing.T) {
	t.Parallel()
	for name, data := range samples(t) {
		data = data[:min(len(data), 500)]
		for _, level := range []int{gzip.HuffmanOnly, 0, 1, 9} {
			t.Run(fmt.Sprint(name, level), func(t *testing.T) {
				z := compress(t, level, data)
				for i := range z {
					for bit := range 8 {
						z[i] ^= 1 << bit
						check(t, z)
						z[i] ^= 1 << bit
					}
				}
			})
		}
	}
}

func TestHeaderFields(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Name, w.Comment, w.Extra = "promotions.csv", "every half hour", bytes.Repeat([]byte{7}, 65535)
	if _, err := w.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, z.Bytes())
	if got, err := decompress(z.Bytes()); string(got) != "data" || err != nil {
		t.Errorf("%q, error %v", got, err)
	}

	body := compress(t, 6, []byte("data"))[10:]
	header := func(flags byte, fields ...[]byte) []byte {
		return slices.Concat([]byte{0x1F, 0x8B, 8, flags, 0, 0, 0, 0, 0, 255}, bytes.Join(fields, nil), body)
	}
	const headerCRC, extra, name, comment = 2, 4, 8, 16
	valid := header(headerCRC, []byte{0, 0})
	crc := crc16(valid[:10])
	for title, z := range map[string][]byte{
		"checksum":             header(headerCRC, crc),
		"wrong checksum":       header(headerCRC, []byte{crc[0] ^ 1, crc[1]}),
		"reserved flags":       header(0xE0),
		"longest name":         header(name, bytes.Repeat([]byte{'x'}, 511), []byte{0}),
		"too long a name":      header(name, bytes.Repeat([]byte{'x'}, 512), []byte{0}),
		"name and comment":     header(name|comment, []byte("x\x00y\x00")),
		"empty extra field":    header(extra, []byte{0, 0}),
		"unfinished name":      header(name, []byte("x"))[:11],
		"unfinished extra":     header(extra, []byte{255, 255, 1}),
		"method 7":             append([]byte{0x1F, 0x8B, 7}, header(0)[3:]...),
		"no magic number":      []byte("id,price,expiration_date\n"),
		"text after a member":  append(header(0), "id,price,expiration_date\n"...),
		"byte after a member":  append(header(0), 'x'),
		"zero after a member":  append(header(0), 0),
		"zeros after a member": append(header(0), make([]byte, 100_000)...),
		"text after zeros":     append(header(0), "\x00\x00x"...),
		"only zeros":           make([]byte, 100),
		"nothing":              {},
	} {
		t.Run(title, func(t *testing.T) { check(t, z) })
	}
}

// crc16 returns the checksum of a header.
func crc16(header []byte) []byte {
	sum := crc32Of(header)
	return []byte{byte(sum), byte(sum >> 8)}
}

func TestZerosAfterTheLastMember(t *testing.T) {
	z := append(compress(t, 6, []byte("data")), make([]byte, 70_000)...)
	if got, err := decompress(z); string(got) != "data" || err != nil {
		t.Errorf("%q, error %v", got, err)
	}
	z = append(z, 'x')
	_, err := decompress(z)
	if damage := new(gunzip.Error); !errors.As(err, &damage) || !errors.Is(err, gunzip.ErrTrailing) || damage.Offset != int64(len(z)-1) {
		t.Errorf("error %v, want ErrTrailing at %d", err, len(z)-1)
	}
}

func TestErrorsNameTheOffset(t *testing.T) {
	z := compress(t, 6, samples(t)["rows"])
	for _, c := range []struct {
		name   string
		change func(z []byte)
		cause  error
		offset int
		text   string
	}{
		{"checksum", func(z []byte) { z[len(z)-8] ^= 1 }, gunzip.ErrChecksum, len(z), fmt.Sprintf("wrong checksum at byte %d", len(z))},
		{"length", func(z []byte) { z[len(z)-1] ^= 1 }, gunzip.ErrLength, len(z), fmt.Sprintf("wrong length at byte %d", len(z))},
		{"magic", func(z []byte) { z[0] = 'i' }, gunzip.ErrHeader, 10, "invalid gzip header at byte 10"},
	} {
		damaged := bytes.Clone(z)
		c.change(damaged)
		_, err := decompress(damaged)
		damage := new(gunzip.Error)
		if !errors.As(err, &damage) || !errors.Is(err, c.cause) || damage.Offset != int64(c.offset) || err.Error() != c.text {
			t.Errorf("%s: error %v, want %v at %d", c.name, err, c.cause, c.offset)
		}
	}
	_, err := decompress(z[:1000])
	if want := "truncated at byte 1000"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestReset(t *testing.T) {
	rows := samples(t)["rows"]
	r := gunzip.NewReader(bytes.NewReader(compress(t, 1, rows)[:50_000]))
	if _, err := readAll(r); err == nil {
		t.Error("a truncated stream has no error")
	}
	r.Reset(bytes.NewReader(compress(t, 6, rows)))
	if got, err := readAll(r); err != nil || !bytes.Equal(got, rows) {
		t.Errorf("after Reset %d bytes, error %v", len(got), err)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	z := compress(t, 6, samples(t)["rows"])
	src := bytes.NewReader(z)
	r := gunzip.NewReader(src)
	buf := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(5, func() {
		src.Reset(z)
		r.Reset(src)
		if err := r.Next(); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
		}
	}); n > 0 {
		t.Errorf("%g allocations", n)
	}
}
