package format_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"promostore/format"
)

// bytesByHand encodes a file according to the specification in doc.go. It shares
// no code with the package under test.
type bytesByHand []byte

func (b *bytesByHand) text(s string) { *b = append(*b, s...) }
func (b *bytesByHand) u8(v uint8)    { *b = append(*b, v) }
func (b *bytesByHand) u16(v uint16)  { *b = binary.BigEndian.AppendUint16(*b, v) }
func (b *bytesByHand) u32(v uint32)  { *b = binary.BigEndian.AppendUint32(*b, v) }
func (b *bytesByHand) u64(v uint64)  { *b = binary.BigEndian.AppendUint64(*b, v) }

// zeros appends zeros up to offset end.
func (b *bytesByHand) zeros(end int) { *b = append(*b, make([]byte, end-len(*b))...) }

// sum appends the checksum of the bytes from offset start.
func (b *bytesByHand) sum(start int) { b.u32(crc32c((*b)[start:])) }

// crc32c computes a CRC32C bit by bit. The polynomial 0x1EDC6F41 of RFC 3720,
// appendix B.4, is bit-reversed.
func crc32c(b []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range b {
		crc ^= uint32(c)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low == 1 {
				crc ^= 0x82F63B78
			}
		}
	}
	return ^crc
}

func TestChecksum(t *testing.T) {
	if got, want := crc32c([]byte("123456789")), uint32(0xE3069283); got != want {
		t.Fatalf("CRC32C of the test: %#x, want %#x", got, want)
	}
	for n := range 300 {
		b := bytes.Repeat([]byte{byte(n), 7}, n)
		if got, want := format.Checksum(b), crc32c(b); got != want {
			t.Errorf("checksum of %d bytes: %#x, want %#x", len(b), got, want)
		}
	}
}

// TestSpecification encodes the file of one promotion from the specification.
func TestSpecification(t *testing.T) {
	var b bytesByHand

	// Header.
	b.text("PROMOGEN")
	b.u32(1)                                                                   // version
	b.u32(32)                                                                  // record length
	b.u32(4096)                                                                // block length
	b.u32(0)                                                                   // shard
	b.u32(1)                                                                   // shards
	b.u32(0)                                                                   // sharding rule: none
	b.u64(1)                                                                   // records
	b.u64(6)                                                                   // rows
	b.u64(2)                                                                   // duplicates
	b.u64(3)                                                                   // bad rows
	b.u64(1795343400123)                                                       // generation: 2026-11-22T10:30:00.123Z
	b.text("\x17\x2F\xFC\x14\xD2\x29\x4C\x93\xB0\x6B\xF4\x8B\x8C\x09\x55\x12") // first id
	b.text("\x17\x2F\xFC\x14\xD2\x29\x4C\x93\xB0\x6B\xF4\x8B\x8C\x09\x55\x12") // last id
	b.u64(4096 + 4096 + 16 + 4 + 16 + 9 + 4)                                   // length of the file
	b.zeros(4092)
	b.sum(0)

	// Block 0: one record, and zeros.
	b.text("\x17\x2F\xFC\x14\xD2\x29\x4C\x93\xB0\x6B\xF4\x8B\x8C\x09\x55\x12") // id
	b.u64(1<<63 | 9680)                                                        // price: -9.680
	// 2022-06-04 06:01:20 is 738,675 days and 21,680 seconds after 0000-01-01.
	b.u64((738675*86400+21680)<<25 | 0<<9 | 3<<1 | 1) // wall clock, style 0, scale 3, upper case
	b.zeros(8192)

	// Fences.
	b.text("\x17\x2F\xFC\x14\xD2\x29\x4C\x93\xB0\x6B\xF4\x8B\x8C\x09\x55\x12")

	// Checksums.
	b.sumOf(4096, 8192)

	// Trailer.
	trailer := len(b)
	b.sumOf(8192, 8192+16)      // of the fences
	b.sumOf(8192+16, 8192+16+4) // of the checksums
	b.u32(1)                    // styles
	b.u32(9)                    // bytes of styles
	b.u8(1)                     // layout: 2006-01-02 15:04:05 -0700 MST
	b.u8(0)                     // plus
	b.u16(120)                  // minutes
	b.u8(4)                     // bytes of the abbreviation
	b.text("CEST")
	b.sum(trailer)

	got, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	const row = "172FFC14-D229-4C93-B06B-F48B8C095512,-9.680,2022-06-04 06:01:20 +0200 CEST"
	if got.csv() != row+"\n" {
		t.Errorf("content %q, want %q", got.csv(), row)
	}
	if h := got.header; h.Rows != 6 || h.Duplicates != 2 || h.BadRows != 3 || h.Generation != 1795343400123 {
		t.Errorf("header %+v", h)
	}
	header := format.Header{Sharding: format.Unsharded, Duplicates: 2, BadRows: 3, Generation: 1795343400123}
	if written := parseRows(t, header, []string{row}).write(t); !bytes.Equal(written, b) {
		t.Errorf("the file of Writer differs at offset %d", firstDifference(written, b))
	}
}

// TestSpecificationOfVersion2 encodes a file with a style of version 2 from the
// specification.
func TestSpecificationOfVersion2(t *testing.T) {
	var b bytesByHand
	id := "\x17\x2F\xFC\x14\xD2\x29\x4C\x93\xB0\x6B\xF4\x8B\x8C\x09\x55\x12"
	b.text("PROMOGEN")
	b.u32(2) // version
	b.u32(32)
	b.u32(4096)
	b.u32(0)
	b.u32(1)
	b.u32(0)
	b.u64(1) // records
	b.u64(1) // rows
	b.zeros(72)
	b.text(id)
	b.text(id)
	b.u64(4096 + 4096 + 16 + 4 + 16 + 12 + 4) // length of the file
	b.zeros(4092)
	b.sum(0)

	b.text(id)
	b.u64(9680000000000000)                 // price: 16 digits
	b.u64((738675*86400+21680)<<25 | 15<<1) // scale 15, style 0
	b.zeros(8192)
	b.text(id)
	b.sumOf(4096, 8192)

	trailer := len(b)
	b.sumOf(8192, 8192+16)
	b.sumOf(8192+16, 8192+16+4)
	b.u32(1)       // styles
	b.u32(12)      // bytes of styles
	b.u8(5)        // layout: 2006-01-02 15:04:05 and a suffix
	b.u8(1 | 3<<1) // minus, and three zeros after the digits of the price
	b.u16(180)     // minutes
	b.u8(7)        // bytes of the suffix
	b.text(".000-03")
	b.sum(trailer)

	got, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	const row = "172ffc14-d229-4c93-b06b-f48b8c095512,9.680000000000000000,2022-06-04 06:01:20.000-03"
	if got.csv() != row+"\n" {
		t.Errorf("content %q, want %q", got.csv(), row)
	}
	if written := parseRows(t, format.Header{Sharding: format.Unsharded}, []string{row}).write(t); !bytes.Equal(written, b) {
		t.Errorf("the file of Writer differs at offset %d", firstDifference(written, b))
	}
}

// sumOf appends the checksum of the bytes from lo to hi.
func (b *bytesByHand) sumOf(lo, hi int) { b.u32(crc32c((*b)[lo:hi])) }

// TestSpecificationEmpty encodes the file without records.
func TestSpecificationEmpty(t *testing.T) {
	var b bytesByHand
	b.text("PROMOGEN")
	b.u32(1)
	b.u32(32)
	b.u32(4096)
	b.u32(2)  // shard
	b.u32(16) // shards
	b.u32(1)  // sharding rule: the last bits
	b.zeros(104)
	b.u64(4096 + 16 + 4) // length of the file
	b.zeros(4092)
	b.sum(0)
	b.u32(0) // checksum of no fences
	b.u32(0) // checksum of no checksums
	b.u32(0) // styles
	b.u32(0) // bytes of styles
	b.sumOf(4096, 4096+16)

	got, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.records) != 0 || len(got.styles) != 0 {
		t.Errorf("content of the empty file: %+v", got)
	}
	if written := (dataSet{header: format.Header{Sharding: format.Sharding{Rule: format.ShardLast, Shards: 16}, Shard: 2}}).write(t); !bytes.Equal(written, b) {
		t.Errorf("the file of Writer differs at offset %d", firstDifference(written, b))
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
