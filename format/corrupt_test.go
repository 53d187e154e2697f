package format_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"promostore/format"
)

// Offsets in the result of corruptible: 130 records in 2 blocks, 3 timestamp
// styles.
const (
	block0Off    = 4096
	block1Off    = block0Off + 4096
	fencesOff    = block1Off + 4096
	checksumsOff = fencesOff + 2*16
	trailerOff   = checksumsOff + 2*4
	stylesOff    = trailerOff + 16
	style1Off    = stylesOff + 5     // after a style without abbreviation
	style2Off    = style1Off + 5 + 3 // after +0100 CET
)

// corruptible returns a valid file for a test to damage.
func corruptible(t *testing.T) []byte {
	t.Helper()
	rows := goldenRows(128)
	rows = append(rows, "ffffffff-ffff-ffff-ffff-fffffffffff0,1.5,2018-08-04 05:32:31", "ffffffff-ffff-ffff-ffff-ffffffffffff,2,2018-08-04 05:32:31")
	b := parseRows(t, format.Header{Sharding: format.Unsharded, Generation: 1}, rows).write(t)
	if len(b) != style2Off+5+4+4 {
		t.Fatalf("file of %d bytes, want %d", len(b), style2Off+5+4+4)
	}
	if _, err := open(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// reseal recomputes all checksums, so that only the other checks can find the
// damage.
func reseal(b []byte) {
	put := func(at, lo, hi int) { binary.BigEndian.PutUint32(b[at:], format.Checksum(b[lo:hi])) }
	put(checksumsOff, block0Off, block1Off)
	put(checksumsOff+4, block1Off, fencesOff)
	put(trailerOff, fencesOff, checksumsOff)
	put(trailerOff+4, checksumsOff, trailerOff)
	put(len(b)-4, trailerOff, len(b)-4)
	put(4092, 0, 4092)
}

// TestReadHeader compares ReadHeader with Open, for damaged headers and for files
// that end within it.
func TestReadHeader(t *testing.T) {
	b := corruptible(t)
	x, err := format.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for n := range format.HeaderLen + 1 {
		h, err := format.ReadHeader(bytes.NewReader(b[:n]))
		if n == format.HeaderLen {
			if err != nil || h != x.Header {
				t.Errorf("header %+v, %v, want %+v", h, err, x.Header)
			}
			break
		}
		if kind := kindOf(err); !errors.Is(kind, format.ErrTruncated) && !errors.Is(kind, format.ErrFormat) {
			t.Errorf("file cut to %d bytes: %v", n, err)
		}
		b[n] ^= 1
		if _, err := format.ReadHeader(bytes.NewReader(b)); kindOf(err) == nil {
			t.Errorf("byte %d of the header: %v, want a kind of damage", n, err)
		}
		b[n] ^= 1
	}
	failing := errors.New("disk")
	if _, err := format.ReadHeader(&failingReader{err: failing}); !errors.Is(err, failing) {
		t.Errorf("error of the file: %v, want %v", err, failing)
	}
}

func TestCorrupt(t *testing.T) {
	u32 := binary.BigEndian.PutUint32
	u64 := binary.BigEndian.PutUint64
	const records, rows = 130, 130

	for _, c := range []struct {
		name   string
		stage  string // prefix of the error: the check that finds the damage
		kind   error
		sealed bool // with recomputed checksums
		damage func(b []byte) []byte
	}{
		{"empty", "header", format.ErrFormat, false, func(b []byte) []byte { return nil }},
		{"magic", "header", format.ErrFormat, true, func(b []byte) []byte { b[7] = 'X'; return b }},
		{"CSV", "header", format.ErrFormat, false, func(b []byte) []byte { return []byte(strings.Join(goldenRows(300), "\n")) }},
		{"short CSV", "header", format.ErrFormat, false, func(b []byte) []byte { return []byte("id,price,expiration_date\n") }},
		{"version 0", "header", format.ErrVersion, true, func(b []byte) []byte { u32(b[8:], 0); return b }},
		{"version 3", "header", format.ErrVersion, false, func(b []byte) []byte { u32(b[8:], 3); return b }},
		{"version 3, cut", "header", format.ErrVersion, false, func(b []byte) []byte { u32(b[8:], 3); return b[:100] }},
		{"version 2 with styles of version 1", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[8:], 2); return b }},
		{"record length", "header", format.ErrVersion, false, func(b []byte) []byte { u32(b[12:], 40); return b }},
		{"block length", "header", format.ErrVersion, false, func(b []byte) []byte { u32(b[16:], 8192); return b }},
		{"header checksum", "header", format.ErrChecksum, false, func(b []byte) []byte { b[4095]++; return b }},
		{"shard 1 of 1", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[20:], 1); return b }},
		{"shard 0 of 0", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[24:], 0); return b }},
		{"100,000 shards", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[24:], 100000); return b }},
		{"one shard with a rule", "header", format.ErrCorrupt, true, func(b []byte) []byte { b[31] = 1; return b }},
		{"16 shards without a rule", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[24:], 16); return b }},
		{"unknown rule", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[24:], 16); u32(b[28:], 3); return b }},
		{"8 shards", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[24:], 8); u32(b[28:], 1); return b }},
		{"24 shards", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[24:], 24); u32(b[28:], 1); return b }},
		{"8192 shards", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[24:], 8192); u32(b[28:], 1); return b }},
		{"first id of another shard", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[20:], 15); u32(b[24:], 16); u32(b[28:], 2); return b }},
		{"last id of another shard", "header", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[24:], 16); u32(b[28:], 2); return b }},
		{"last reserved byte", "header", format.ErrCorrupt, true, func(b []byte) []byte { b[4091] = 1; return b }},
		{"first reserved byte after the length", "header", format.ErrCorrupt, true, func(b []byte) []byte { b[112] = 1; return b }},
		{"2^40+1 records", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[32:], 1<<40+1); u64(b[40:], 1<<40+1); return b }},
		{"2^40 records", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[32:], 1<<40); u64(b[40:], 1<<40); return b }},
		{"2^64-1 records", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[32:], 1<<64-1); u64(b[40:], 1<<64-1); return b }},
		{"records whose length overflows", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[32:], 1<<59+records); u64(b[40:], 1<<59+rows); return b }},
		{"2^40 records and a matching length", "header", format.ErrTruncated, true, func(b []byte) []byte {
			u64(b[32:], 1<<40)
			u64(b[40:], 1<<40)
			u64(b[104:], 4096+1<<33*(4096+16+4)+20)
			return b
		}},
		{"blocks in place of the trailer", "trailer", format.ErrChecksum, true, func(b []byte) []byte { u64(b[32:], 0); u64(b[40:], 0); clear(b[72:104]); return b }},
		{"rows", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[40:], rows+1); return b }},
		{"sum of rows that overflows", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[48:], 1<<63); u64(b[56:], 1<<63); return b }},
		{"duplicates that wrap around", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[40:], rows-1); u64(b[48:], 1<<64-1); return b }},
		{"bad rows that wrap around", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[40:], rows-1); u64(b[56:], 1<<64-1); return b }},
		{"generation", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[64:], format.MaxGeneration+1); return b }},
		{"generation before 1970", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[64:], 1<<64-1); return b }},
		{"first id after the last", "header", format.ErrCorrupt, true, func(b []byte) []byte { copy(b[72:88], bytes.Repeat([]byte{0xFF}, 16)); clear(b[88:104]); return b }},
		{"first id equal to the last", "header", format.ErrCorrupt, true, func(b []byte) []byte { copy(b[72:88], b[88:104]); return b }},
		{"length of 2^63", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[104:], 1<<63); return b }},
		{"length below the regions", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[104:], trailerOff+19); return b }},
		{"length above the largest dictionary", "header", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[104:], trailerOff+20+65536*68+1); return b }},
		{"length above the size", "header", format.ErrTruncated, true, func(b []byte) []byte { u64(b[104:], uint64(len(b))+1); return b }},
		{"trailing garbage", "header", format.ErrTruncated, false, func(b []byte) []byte { return append(b, 0) }},
		{"last byte missing", "header", format.ErrTruncated, false, func(b []byte) []byte { return b[:len(b)-1] }},

		{"trailer checksum", "trailer", format.ErrChecksum, false, func(b []byte) []byte { b[len(b)-1]++; return b }},
		{"dictionary checksum", "trailer", format.ErrChecksum, false, func(b []byte) []byte { b[stylesOff+3] ^= 1; return b }},
		{"number of styles too low", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[trailerOff+8:], 2); return b }},
		{"number of styles too high", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[trailerOff+8:], 4); return b }},
		{"number of styles 2^32-1", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[trailerOff+8:], 1<<32-1); return b }},
		{"length of styles", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[trailerOff+15]++; return b }},
		{"layout", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off] = 5; return b }},
		{"zeros in version 1", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off+1] = 1 << 1; return b }},
		{"64 zeros", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[8:], 2); b[style2Off+1] = 64 << 1; return b }},
		{"layout of version 2", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { suffix(b, " UTC"); return b }},
		{"malformed suffix", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[8:], 2); suffix(b, " UT"); return b }},
		{"suffix of version 1", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[8:], 2); suffix(b, ""); return b }},
		{"suffix with another offset", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[8:], 2); suffix(b, "+01"); return b }},
		{"layout 7", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { u32(b[8:], 2); suffix(b, " UTC"); b[style2Off] = 7; return b }},
		{"sign", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off+1] = 2; return b }},
		{"minutes", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off+2] = 6; return b }},
		{"minutes without an offset", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[stylesOff+3] = 1; return b }},
		{"sign without an offset", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[stylesOff+1] = 1; return b }},
		{"abbreviation beyond the end", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off+4] = 5; return b }},
		{"abbreviation too short", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off+4] = 3; return b }},
		{"abbreviation empty", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style1Off+4] = 0; return b }},
		{"abbreviation with a quote", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off+5] = '"'; return b }},
		{"abbreviation in invalid UTF-8", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off+5] = 0xFF; return b }},
		{"abbreviation in another layout", "trailer", format.ErrCorrupt, true, func(b []byte) []byte { b[style2Off] = 2; return b }},
		{"styles out of order", "trailer", format.ErrOrder, true, func(b []byte) []byte { b[style1Off+3] = 121; return b }},
		{"duplicate style", "trailer", format.ErrOrder, true, func(b []byte) []byte {
			style1 := bytes.Clone(b[style1Off:style2Off])
			b = append(append(b[:style2Off], style1...), b[len(b)-4:]...)
			b[trailerOff+15] = byte(5 + 2*len(style1))
			u64(b[104:], uint64(len(b)))
			return b
		}},

		{"fence", "fences", format.ErrChecksum, false, func(b []byte) []byte { b[fencesOff+16]++; return b }},
		{"fences out of order", "fences", format.ErrOrder, true, func(b []byte) []byte { clear(b[fencesOff+16 : fencesOff+32]); return b }},
		{"equal fences", "fences", format.ErrOrder, true, func(b []byte) []byte { copy(b[fencesOff+16:], b[fencesOff:fencesOff+16]); return b }},
		{"first fence", "fences", format.ErrCorrupt, true, func(b []byte) []byte { b[fencesOff+15] ^= 1; return b }},
		{"first id", "fences", format.ErrCorrupt, true, func(b []byte) []byte { b[72+15] ^= 1; return b }},
		{"last id before the last fence", "fences", format.ErrCorrupt, true, func(b []byte) []byte { b[88] = 0xFE; return b }},

		{"checksums", "checksums", format.ErrChecksum, false, func(b []byte) []byte { b[checksumsOff]++; return b }},

		{"record", "block 0", format.ErrChecksum, false, func(b []byte) []byte { b[block0Off+20] ^= 1; return b }},
		{"padding of the block", "block 1", format.ErrChecksum, false, func(b []byte) []byte { b[fencesOff-1] = 1; return b }},
		{"first record and fence differ", "block 1", format.ErrCorrupt, true, func(b []byte) []byte { b[block1Off+15]++; return b }},
		{"records out of order", "block 0", format.ErrOrder, true, func(b []byte) []byte {
			swap(b[block0Off+32:block0Off+64], b[block0Off+64:block0Off+96])
			return b
		}},
		{"duplicate id", "block 0", format.ErrOrder, true, func(b []byte) []byte {
			copy(b[block0Off+32:], b[block0Off:block0Off+16])
			return b
		}},
		{"overlapping blocks", "block 0", format.ErrOrder, true, func(b []byte) []byte {
			copy(b[block1Off:], b[block1Off-32:block1Off-16])
			copy(b[fencesOff+16:], b[block1Off-32:block1Off-16])
			return b
		}},
		{"last id", "block 1", format.ErrCorrupt, true, func(b []byte) []byte { b[88+15] = 0xFE; return b }},
		{"record in the padding", "block 1", format.ErrCorrupt, true, func(b []byte) []byte { b[fencesOff-1] = 1; return b }},
		{"first byte of the padding", "block 1", format.ErrCorrupt, true, func(b []byte) []byte { b[block1Off+64] = 1; return b }},
		{"price of 17 digits", "block 0", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[block0Off+16:], 1e16); return b }},
		{"price of -17 digits", "block 0", format.ErrCorrupt, true, func(b []byte) []byte { u64(b[block0Off+16:], 1<<63|uint64(1e16)); return b }},
		{"scale 17", "block 0", format.ErrCorrupt, true, func(b []byte) []byte { setExpiry(b[block0Off:], 17<<1, 31<<1); return b }},
		{"spare bit 6", "block 0", format.ErrCorrupt, true, func(b []byte) []byte { setExpiry(b[block0Off:], 1<<6, 1<<6); return b }},
		{"spare bit 7", "block 0", format.ErrCorrupt, true, func(b []byte) []byte { setExpiry(b[block0Off:], 1<<7, 1<<7); return b }},
		{"spare bit 8", "block 0", format.ErrCorrupt, true, func(b []byte) []byte { setExpiry(b[block0Off:], 1<<8, 1<<8); return b }},
		{"style 3", "block 0", format.ErrCorrupt, true, func(b []byte) []byte { setExpiry(b[block0Off:], 3<<9, 0xFFFF<<9); return b }},
		{"style 65535", "block 0", format.ErrCorrupt, true, func(b []byte) []byte { setExpiry(b[block0Off:], 0xFFFF<<9, 0xFFFF<<9); return b }},
		{"year 10000", "block 0", format.ErrCorrupt, true, func(b []byte) []byte {
			setExpiry(b[block0Off:], (maxSeconds+1)<<25, (1<<39-1)<<25)
			return b
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.damage(corruptible(t))
			if c.sealed {
				reseal(b)
			}
			_, err := open(b)
			if !errors.Is(kindOf(err), c.kind) || !strings.HasPrefix(err.Error(), c.stage+":") {
				t.Errorf("error %v, want stage %s and kind %v", err, c.stage, c.kind)
			}
		})
	}
}

// suffix overwrites the last style with one of LayoutSuffix.
func suffix(b []byte, text string) {
	style := append([]byte{5, 0, 0, 0, byte(len(text))}, text...)
	if len(style) != 5+4 { // the file keeps its length
		style = append(style, make([]byte, 5+4-len(style))...)
	}
	copy(b[style2Off:], style)
}

// TestLimits sets fields to their highest valid value.
func TestLimits(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"price":      func(b []byte) { binary.BigEndian.PutUint64(b[block0Off+16:], 1<<63|uint64(1e16-1)) },
		"scale 16":   func(b []byte) { setExpiry(b[block0Off:], 16<<1, 31<<1) },
		"style 2":    func(b []byte) { setExpiry(b[block0Off:], 2<<9, 0xFFFF<<9) },
		"year 9999":  func(b []byte) { setExpiry(b[block0Off:], maxSeconds<<25, (1<<39-1)<<25) },
		"minutes":    func(b []byte) { binary.BigEndian.PutUint16(b[style2Off+2:], 24*60-1) },
		"zeros":      func(b []byte) { binary.BigEndian.PutUint32(b[8:], 2); b[style2Off+1] = 63 << 1 },
		"suffix":     func(b []byte) { binary.BigEndian.PutUint32(b[8:], 2); suffix(b, " UTC") },
		"generation": func(b []byte) { binary.BigEndian.PutUint64(b[64:], format.MaxGeneration) },
		"bad rows": func(b []byte) {
			binary.BigEndian.PutUint64(b[40:], 1<<64-1)
			binary.BigEndian.PutUint64(b[56:], 1<<64-1-130)
		},
	} {
		b := corruptible(t)
		change(b)
		reseal(b)
		if _, err := open(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func swap(a, b []byte) {
	c := slices.Clone(a)
	copy(a, b)
	copy(b, c)
}

// setExpiry sets the bits in mask of the expiry of a record.
func setExpiry(record []byte, bits, mask uint64) {
	word := binary.BigEndian.Uint64(record[24:])
	binary.BigEndian.PutUint64(record[24:], word&^mask|bits)
}

func TestTruncatedAtEveryLength(t *testing.T) {
	b := corruptible(t)
	for n := range b {
		want := format.ErrTruncated
		if n < len(format.Magic) {
			want = format.ErrFormat
		}
		if _, err := open(b[:n]); !errors.Is(err, want) {
			t.Errorf("file cut to %d bytes: %v, want %v", n, err, want)
		}
		// The file is cut between the call of Stat and Open.
		r := bytes.NewReader(b[:n])
		x, err := format.Open(r, int64(len(b)))
		if err == nil {
			err = x.Verify(r, nil)
		}
		if !errors.Is(err, format.ErrTruncated) {
			t.Errorf("file cut to %d bytes before Open: %v, want %v", n, err, format.ErrTruncated)
		}
	}
	x, err := format.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for n := range fencesOff {
		if err := x.Verify(bytes.NewReader(b[:n]), nil); !errors.Is(err, format.ErrTruncated) {
			t.Errorf("file cut to %d bytes after Open: Verify: %v, want %v", n, err, format.ErrTruncated)
		}
		if err := x.VerifyBlock(bytes.NewReader(b[:n]), 1); !errors.Is(err, format.ErrTruncated) {
			t.Errorf("file cut to %d bytes after Open: VerifyBlock: %v, want %v", n, err, format.ErrTruncated)
		}
	}
}

func TestEveryBitFlipped(t *testing.T) {
	b := corruptible(t)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := open(b); kindOf(err) == nil {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
			b[i] ^= 1 << bit
		}
	}
	if _, err := open(b); err != nil {
		t.Fatal(err)
	}
}
