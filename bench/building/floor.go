package building

import (
	"context"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// fileLen is the size of a generation of so many records, but for the names of
// its zones.
func fileLen(records int64) int64 {
	blocks := (records + format.RecordsPerBlock - 1) / format.RecordsPerBlock
	return format.BlockOff(blocks) + blocks*(format.KeyLen+format.ChecksumLen)
}

// floor is the work that no build can do without: read every byte of csv, and
// write size bytes to a file and to the disk. Each processor reads and writes
// its share.
func floor(csv string, size int64) build {
	return func(ctx context.Context, path string) (map[string]float64, error) {
		in, err := os.Open(csv)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return nil, err
		}
		out, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		defer out.Close()
		const chunk = 1 << 20
		chunks := (info.Size() + chunk - 1) / chunk
		var next atomic.Int64
		g, ctx := errgroup.WithContext(ctx)
		for range runtime.GOMAXPROCS(0) {
			g.Go(func() error {
				buf := make([]byte, chunk)
				for ctx.Err() == nil {
					i := next.Add(1) - 1
					if i >= chunks {
						return nil
					}
					if _, err := in.ReadAt(buf, i*chunk); err != nil && err != io.EOF {
						return err
					}
					lo, hi := share(size, i, chunks), share(size, i+1, chunks)
					for lo < hi {
						n, err := out.WriteAt(buf[:min(chunk, hi-lo)], lo)
						if err != nil {
							return err
						}
						lo += int64(n)
					}
				}
				return ctx.Err()
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		return nil, out.Sync()
	}
}

// share is where the part i of n begins.
func share(size, i, n int64) int64 { return int64(float64(size) * float64(i) / float64(n)) }
