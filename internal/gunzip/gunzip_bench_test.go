package gunzip_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/gzip"

	"promostore/internal/gunzip"
	"promostore/internal/synth"
)

// BenchmarkDecompress compares the decompression of a file of promotions by this
// package, by klauspost/compress and by compress/gzip. The gzip command makes
// the file. For peers that are commands, see make scorecard SUITES=build.
func BenchmarkDecompress(b *testing.B) {
	var rows bytes.Buffer
	if _, err := (synth.DataSet{Rows: 1_000_000}).WriteTo(&rows); err != nil {
		b.Fatal(err)
	}
	for _, level := range []int{1, 6, 9} {
		cmd := exec.Command("gzip", fmt.Sprint("-", level))
		cmd.Stdin = bytes.NewReader(rows.Bytes())
		z, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		for _, decompressor := range []struct {
			name string
			open func(io.Reader) (io.Reader, error)
		}{
			{"gunzip", func(r io.Reader) (io.Reader, error) { z := gunzip.NewReader(r); return z, z.Next() }},
			{"klauspost", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
			{"std", func(r io.Reader) (io.Reader, error) { return stdgzip.NewReader(r) }},
		} {
			b.Run(fmt.Sprintf("level=%d/%s", level, decompressor.name), func(b *testing.B) {
				buf := make([]byte, 256<<10)
				b.SetBytes(int64(rows.Len()))
				for b.Loop() {
					r, err := decompressor.open(bytes.NewReader(z))
					for err == nil {
						_, err = r.Read(buf)
					}
					if !errors.Is(err, io.EOF) {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
