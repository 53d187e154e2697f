package limits

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"promostore/bench/machine"
	"promostore/format"
	"promostore/internal/synth"
	"promostore/reader"
)

// Reads says what the command promoread does: random reads of a generation
// file by some goroutines at the same time.
type Reads struct {
	File    string
	Rows    int64         // of the table of package synth that File was made of
	Bare    bool          // read random blocks with pread, instead of looking promotions up
	Threads bool          // give each client a thread of its own, past the scheduler of Go
	Clients int           // goroutines
	Warm    int64         // lookups before the time starts, to bring the page cache to where it stays
	Time    time.Duration // of what is measured
}

// ReadsResult is what came of it, in JSON too.
type ReadsResult struct {
	Lookups    int64   `json:"lookups"`
	Seconds    float64 `json:"seconds"`
	DiskBytes  int64   `json:"disk_bytes"` // read from the disk meanwhile
	CPUSeconds float64 `json:"cpu_seconds"`
	Access     string  `json:"access"` // of the reader; empty if Bare
}

var errLost = errors.New("a promotion of the table is not in the file")

// Run does the reads in this process, of which it takes the whole use of disk
// and processor for its own.
func (o *Reads) Run(ctx context.Context) (r ReadsResult, err error) {
	if o.Threads {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(o.Clients)) // nobody waits for a processor
	}
	read, closeFile, err := o.open(&r)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	if err := o.each(ctx, 0, func(n int64, _ time.Time) bool { return n*int64(o.Clients) >= o.Warm }, read, &r); err != nil {
		return r, err
	}
	diskBefore, err := diskBytes("self")
	if err != nil {
		return r, err
	}
	cpuBefore := cpuSeconds()
	start := time.Now()
	end := start.Add(o.Time)
	r.Lookups = 0
	if err := o.each(ctx, 1, func(_ int64, now time.Time) bool { return now.After(end) }, read, &r); err != nil {
		return r, err
	}
	r.Seconds = time.Since(start).Seconds()
	diskAfter, err := diskBytes("self")
	r.DiskBytes, r.CPUSeconds = diskAfter-diskBefore, cpuSeconds()-cpuBefore
	return r, err
}

// open opens the file. read does one read; b is a block long.
func (o *Reads) open(r *ReadsResult) (read func(rng *rand.Rand, b []byte) error, closeFile func() error, err error) {
	if o.Bare {
		f, err := os.Open(o.File)
		if err != nil {
			return nil, nil, err
		}
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
		blocks := (o.Rows + format.RecordsPerBlock - 1) / format.RecordsPerBlock
		return func(rng *rand.Rand, b []byte) error {
			_, err := f.ReadAt(b, format.BlockOff(rng.Int64N(blocks)))
			return err
		}, f.Close, nil
	}
	f, err := reader.Open(o.File, reader.AccessAuto)
	if err != nil {
		return nil, nil, err
	}
	r.Access = f.Access().String()
	keys := synth.Keys{Kind: synth.KeysV4}
	return func(rng *rand.Rand, _ []byte) error {
		_, found, err := f.Get(keys.At(rng.Uint64N(uint64(o.Rows))))
		if err == nil && !found {
			err = errLost
		}
		return err
	}, f.Close, nil
}

// each lets every client read until done, which hears of its own reads now and
// then.
func (o *Reads) each(ctx context.Context, seed uint64, done func(n int64, now time.Time) bool, read func(*rand.Rand, []byte) error, r *ReadsResult) error {
	const now = 16 // reads between two looks at the clock
	errs, counts := make([]error, o.Clients), make([]int64, o.Clients)
	var wg sync.WaitGroup
	for i := range o.Clients {
		wg.Go(func() {
			rng, b := rand.New(rand.NewPCG(uint64(i), seed)), make([]byte, format.BlockLen)
			for n := int64(0); ; n++ {
				if n%now == 0 && (ctx.Err() != nil || done(n, time.Now())) {
					counts[i] = n
					return
				}
				if errs[i] = read(rng, b); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, n := range counts {
		r.Lookups += n
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// diskBytes is what the process pid, or self, has read from disks so far.
func diskBytes(pid string) (int64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "io"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "read_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("no read_bytes in %q", text)
}

func cpuSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic("BUG: " + err.Error())
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// buildCommand makes one of the commands of this package in dir.
func buildCommand(ctx context.Context, dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	c := exec.CommandContext(ctx, "go", "build", "-o", path, "promostore/bench/limits/cmd/"+name)
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build of %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// run is Run by the command promoread in the group g, with a cold page cache.
func (o *Reads) run(ctx context.Context, g *machine.Group, program string) (r ReadsResult, err error) {
	if err := machine.Evict(o.File); err != nil {
		return r, err
	}
	c := g.Command(ctx, program,
		"-file", o.File, "-rows", strconv.FormatInt(o.Rows, 10), "-bare="+strconv.FormatBool(o.Bare), "-threads="+strconv.FormatBool(o.Threads),
		"-clients", strconv.Itoa(o.Clients), "-warm", strconv.FormatInt(o.Warm, 10), "-time", o.Time.String())
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return r, fmt.Errorf("promoread: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return r, json.Unmarshal(stdout.Bytes(), &r)
}
