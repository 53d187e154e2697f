package format

import (
	"encoding/binary"
	"errors"
	"io"
)

// A Header holds the counts, the key range and the length of a file.
type Header struct {
	Version    uint32 // of the format
	Sharding          // of the generation
	Shard      uint32 // number of this shard, counted from 0
	Records    uint64
	Rows       uint64 // of the input: Records + Duplicates + BadRows
	Duplicates uint64
	BadRows    uint64
	Generation int64 // milliseconds since 1970 UTC
	MinKey     Key   // of the first record; zero without records
	MaxKey     Key   // of the last record; zero without records
	FileLen    int64 // bytes
}

// Blocks returns the number of blocks.
func (h *Header) Blocks() int64 { return regionsOf(h.Records).numBlocks }

// append appends the header page.
func (h *Header) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, HeaderLen)...)
	b := dst[start:]
	copy(b[magicOff:], Magic)
	binary.BigEndian.PutUint32(b[versionOff:], h.Version)
	binary.BigEndian.PutUint32(b[recordLenOff:], RecordLen)
	binary.BigEndian.PutUint32(b[blockLenOff:], BlockLen)
	binary.BigEndian.PutUint32(b[shardOff:], h.Shard)
	binary.BigEndian.PutUint32(b[shardsOff:], h.Shards)
	binary.BigEndian.PutUint32(b[shardRuleOff:], uint32(h.Rule))
	binary.BigEndian.PutUint64(b[recordsOff:], h.Records)
	binary.BigEndian.PutUint64(b[rowsOff:], h.Rows)
	binary.BigEndian.PutUint64(b[duplicatesOff:], h.Duplicates)
	binary.BigEndian.PutUint64(b[badRowsOff:], h.BadRows)
	binary.BigEndian.PutUint64(b[generationOff:], uint64(h.Generation))
	h.MinKey.put(b[minKeyOff:])
	h.MaxKey.put(b[maxKeyOff:])
	binary.BigEndian.PutUint64(b[fileLenOff:], uint64(h.FileLen))
	binary.BigEndian.PutUint32(b[headerSumOff:], Checksum(b[:headerSumOff]))
	return dst
}

// ReadHeader reads and checks the header of a file, and nothing else. The error
// wraps one of this package or is an error of r.
func ReadHeader(r io.ReaderAt) (Header, error) {
	page := make([]byte, HeaderLen)
	n, err := r.ReadAt(page, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	return parseHeader(page[:n])
}

// parseHeader parses the header page, which may be cut short. It checks the
// fields against each other, not against the file.
func parseHeader(b []byte) (Header, error) {
	if got := b[:min(len(b), len(Magic))]; string(got) != Magic {
		return Header{}, corrupt(ErrFormat, magicOff, "magic %q, want %q", got, Magic)
	}
	for _, f := range [...]struct {
		off      int
		name     string
		min, max uint32
		want     string
	}{
		{versionOff, "version", version1, Version, "1 or 2"},
		{recordLenOff, "record length", RecordLen, RecordLen, "32"},
		{blockLenOff, "block length", BlockLen, BlockLen, "4096"},
	} {
		if len(b) < f.off+4 {
			break
		}
		if got := binary.BigEndian.Uint32(b[f.off:]); got < f.min || got > f.max {
			return Header{}, corrupt(ErrVersion, int64(f.off), "%s %d, want %s", f.name, got, f.want)
		}
	}
	if len(b) < HeaderLen {
		return Header{}, corrupt(ErrTruncated, int64(len(b)), "end of file in the header of %d bytes", HeaderLen)
	}
	if got, want := Checksum(b[:headerSumOff]), binary.BigEndian.Uint32(b[headerSumOff:]); got != want {
		return Header{}, corrupt(ErrChecksum, headerSumOff, "header: %08x, want %08x", got, want)
	}
	h := Header{
		Version:    binary.BigEndian.Uint32(b[versionOff:]),
		Shard:      binary.BigEndian.Uint32(b[shardOff:]),
		Sharding:   Sharding{ShardRule(binary.BigEndian.Uint32(b[shardRuleOff:])), binary.BigEndian.Uint32(b[shardsOff:])},
		Records:    binary.BigEndian.Uint64(b[recordsOff:]),
		Rows:       binary.BigEndian.Uint64(b[rowsOff:]),
		Duplicates: binary.BigEndian.Uint64(b[duplicatesOff:]),
		BadRows:    binary.BigEndian.Uint64(b[badRowsOff:]),
		Generation: int64(binary.BigEndian.Uint64(b[generationOff:])),
		MinKey:     KeyAt(b[minKeyOff:]),
		MaxKey:     KeyAt(b[maxKeyOff:]),
		FileLen:    int64(binary.BigEndian.Uint64(b[fileLenOff:])),
	}
	return h, h.validate(b)
}

func (h *Header) validate(b []byte) error {
	switch {
	case h.Records > MaxRecords:
		return corrupt(ErrCorrupt, recordsOff, "%d records, above %d", h.Records, uint64(MaxRecords))
	case !h.Valid() || h.Shard >= h.Shards:
		return corrupt(ErrCorrupt, shardOff, "shard %d of %d, sharding rule %d", h.Shard, h.Shards, uint32(h.Rule))
	case h.Duplicates > h.Rows || h.BadRows > h.Rows-h.Duplicates || h.Rows-h.Duplicates-h.BadRows != h.Records:
		return corrupt(ErrCorrupt, rowsOff, "%d rows, but %d records, %d duplicates and %d bad rows", h.Rows, h.Records, h.Duplicates, h.BadRows)
	case h.Generation < 0 || h.Generation > MaxGeneration:
		return corrupt(ErrCorrupt, generationOff, "generation %d, above %d", uint64(h.Generation), uint64(MaxGeneration))
	case h.Records == 0 && (h.MinKey != Key{} || h.MaxKey != Key{}):
		return corrupt(ErrCorrupt, minKeyOff, "ids in a file without records")
	case h.Records == 1 && h.MinKey != h.MaxKey || h.Records > 1 && !h.MinKey.Less(h.MaxKey):
		return corrupt(ErrCorrupt, minKeyOff, "%d records from %s to %s", h.Records, h.MinKey, h.MaxKey)
	}
	if h.Records > 0 {
		for _, end := range [...]struct {
			off int
			key Key
		}{{minKeyOff, h.MinKey}, {maxKeyOff, h.MaxKey}} {
			if shard := h.ShardOf(end.key); shard != h.Shard {
				return corrupt(ErrCorrupt, int64(end.off), "id %s of shard %d in shard %d", end.key, shard, h.Shard)
			}
		}
	}
	if i := firstNonZero(b[headerEndOff:headerSumOff]); i >= 0 {
		return corrupt(ErrCorrupt, int64(headerEndOff+i), "%#x in reserved bytes, want zero", b[headerEndOff+i])
	}
	return nil
}

// firstNonZero returns the index of the first byte that is not zero, or -1.
func firstNonZero(b []byte) int {
	for i, c := range b {
		if c != 0 {
			return i
		}
	}
	return -1
}
