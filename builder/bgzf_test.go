package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"promostore/internal/synth"
)

// bgzf returns data as BGZF blocks: gzip members that tell their length in an
// extra field.
func bgzf(t *testing.T, size int, data []byte) []byte {
	t.Helper()
	pack := compressors(t)["gzip"]
	var all []byte
	for part := range slices.Chunk(data, size) {
		z := []byte(pack(string(part)))
		n := len(z) + 8 - 1
		z[3] |= 4
		all = append(append(append(all, z[:10]...), 6, 0, 'B', 'C', 2, 0, byte(n), byte(n>>8)), z[10:]...)
	}
	return all
}

// Any number of workers builds the same file from BGZF blocks, whose ends are
// within rows, and from other members beside them.
func TestBGZF(t *testing.T) {
	csv := csvOf(t, synth.DataSet{Rows: 50_000, Duplicates: 1000})
	_, want := mustBuild(t, inMemory, Options{Inputs: []Input{stream("in", csv)}})
	half := bytes.IndexByte(csv[len(csv)/2:], '\n') + 1 + len(csv)/2
	for name, data := range map[string][]byte{
		"blocks":                bgzf(t, 0xFF00, csv),
		"small blocks":          bgzf(t, 300, csv),
		"a block for each file": slices.Concat(bgzf(t, 0xFF00, csv[:half]), bgzf(t, 0xFF00, slices.Concat([]byte(header), csv[half:]))),
		"other members":         slices.Concat([]byte(compressors(t)["gzip"](string(csv[:half]))), bgzf(t, 0xFF00, csv[half:])),
	} {
		for _, workers := range []int{1, 2, 7} {
			if _, got := mustBuild(t, inMemory, Options{Inputs: []Input{stream("in", data)}, Workers: workers, Memory: 1 << 30}); !bytes.Equal(got, want) {
				t.Errorf("%s, %d workers: the file differs from that of plain CSV", name, workers)
			}
		}
	}
}

// Damage is reported with the same offset and line by any number of workers.
func TestDamagedBGZFBlock(t *testing.T) {
	csv := csvOf(t, synth.DataSet{Rows: 50_000})
	data := bgzf(t, 0xFF00, csv)
	second := bytes.Index(data[1:], data[:4]) + 1
	data[second*5] ^= 1
	var texts []string
	for _, workers := range []int{1, 2, 7} {
		_, err := Build(t.Context(), Options{Inputs: []Input{stream("in", data)}, Dir: t.TempDir(), Workers: workers, Memory: 1 << 30})
		if damage := new(CompressionError); !errors.As(err, &damage) || damage.Kind != "gzip" || damage.Line == 0 {
			t.Fatalf("%d workers: error %v", workers, err)
		}
		texts = append(texts, err.Error())
	}
	if len(slices.Compact(texts)) != 1 {
		t.Errorf("errors %s", strings.Join(texts, "\n"))
	}
}

// Stored blocks are read ahead before any is decompressed; they are no data
// without rows.
func TestStoredBGZFBlocksHaveRows(t *testing.T) {
	csv := csvOf(t, synth.DataSet{Rows: 100_000})
	var data []byte
	for part := range slices.Chunk(csv, 65_000) {
		n, sum := len(part), crc32.ChecksumIEEE(part)
		size := 18 + 5 + n + 8 - 1
		data = append(data, 0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 255, 6, 0, 'B', 'C', 2, 0, byte(size), byte(size>>8), 1, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8))
		data = append(data, part...)
		data = append(data, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24), byte(n), byte(n>>8), 0, 0)
	}
	for _, workers := range []int{1, 16} {
		if sum, _ := mustBuild(t, inMemory, Options{Inputs: []Input{stream("in", data)}, Workers: workers, Memory: 1 << 30}); sum.Records != 100_000 {
			t.Errorf("%d workers: %d records", workers, sum.Records)
		}
	}
}

// A build that is canceled while it waits for the next block ends its decoders;
// TestMain finds those that remain.
func TestCanceledBGZF(t *testing.T) {
	data := bgzf(t, 0xFF00, csvOf(t, synth.DataSet{Rows: 50_000}))
	for _, n := range []int{100, len(data) / 2, len(data) - 1} {
		r, w := blockingPipe(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := fmt.Errorf("stopped after %d bytes", n)
		go func() {
			_, err := w.Write(data[:n])
			if err != nil {
				t.Error(err)
			}
			cancel(stopped)
		}()
		_, err := Build(ctx, Options{Inputs: []Input{StreamInput("in", r)}, Dir: t.TempDir(), Workers: 3, Memory: MinMemory})
		if !errors.Is(err, context.Canceled) && !errors.Is(err, stopped) {
			t.Errorf("after %d bytes: error %v", n, err)
		}
	}
}
