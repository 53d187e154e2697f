package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/synth"
	"promostore/reader"
)

// ReadOptions describes random reads of a generation file by many goroutines.
type ReadOptions struct {
	File    string
	Rows    int64 // of the data set, which has the IDs of synth.KeysV4
	Bare    bool  // read random blocks with pread instead of looking up promotions
	Threads bool  // give each goroutine a thread, so that no read waits for the scheduler
	Clients int   // number of goroutines
	Warm    int64 // reads before the measurement, which fill the page cache
	Time    time.Duration
}

// ReadResult is the outcome of the reads.
type ReadResult struct {
	Reads      int64
	Seconds    float64
	CPUSeconds float64
	DiskBytes  int64 // read from the disk
}

// Read reads in this process, and takes all its use of disk and processors for
// its own.
func Read(ctx context.Context, o ReadOptions) (r ReadResult, err error) {
	if o.Threads {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(o.Clients))
	}
	read, closeFile, err := o.open()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	_, err = o.each(ctx, 0, read, func(n int64) bool { return n*int64(o.Clients) >= o.Warm })
	if err != nil {
		return r, err
	}
	var before, after unix.Rusage
	disk := DiskBytes("self")
	err = unix.Getrusage(unix.RUSAGE_SELF, &before)
	start := time.Now()
	r.Reads, err = o.each(ctx, 1, read, func(int64) bool { return time.Since(start) >= o.Time })
	r.Seconds = time.Since(start).Seconds()
	err = errors.Join(err, unix.Getrusage(unix.RUSAGE_SELF, &after))
	r.CPUSeconds = float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()) / 1e9
	r.DiskBytes = DiskBytes("self") - disk
	return r, err
}

// open opens the file, and returns a function that reads once.
func (o *ReadOptions) open() (read func(rng *rand.Rand, block []byte) error, closeFile func() error, err error) {
	if o.Bare {
		f, err := os.Open(o.File)
		if err != nil {
			return nil, nil, err
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
		blocks := (o.Rows + format.RecordsPerBlock - 1) / format.RecordsPerBlock
		return func(rng *rand.Rand, block []byte) error {
			_, err := f.ReadAt(block, format.BlockOff(rng.Int64N(blocks)))
			return err
		}, f.Close, nil
	}
	f, err := reader.Open(o.File, reader.AccessAuto)
	if err != nil {
		return nil, nil, err
	}
	return func(rng *rand.Rand, _ []byte) error {
		key := synth.Keys{Kind: synth.KeysV4}.At(rng.Uint64N(uint64(o.Rows)))
		_, found, err := f.Get(key)
		if err == nil && !found {
			err = fmt.Errorf("%s is not in %s", key, o.File)
		}
		return err
	}, f.Close, nil
}

// each lets every client read until done, and returns the number of reads.
func (o *ReadOptions) each(ctx context.Context, seed uint64, read func(*rand.Rand, []byte) error, done func(n int64) bool) (total int64, err error) {
	errs, counts := make([]error, o.Clients), make([]int64, o.Clients)
	var wg sync.WaitGroup
	for i := range o.Clients {
		wg.Go(func() {
			rng, block := rand.New(rand.NewPCG(uint64(i), seed)), make([]byte, format.BlockLen)
			for n := int64(0); ; n++ {
				if n%16 == 0 && (ctx.Err() != nil || done(n)) {
					counts[i] = n
					return
				}
				if errs[i] = read(rng, block); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, n := range counts {
		total += n
	}
	return total, errors.Join(append(errs, ctx.Err())...)
}

// DiskBytes returns the bytes that a process has read from the disk; 0 if the
// kernel does not tell. The process is a number or "self".
func DiskBytes(process string) (n int64) {
	text, _ := os.ReadFile("/proc/" + process + "/io")
	if _, after, ok := strings.Cut(string(text), "read_bytes: "); ok {
		_, _ = fmt.Sscan(after, &n)
	}
	return n
}
