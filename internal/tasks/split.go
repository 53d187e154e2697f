package tasks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"promostore/builder"
	"promostore/internal/objects"
)

// A SplitResult is the result of Plan.Split.
type SplitResult struct {
	*SplitDone // nil if the plan has no such split

	// Earlier means that another attempt had done the split, before this one began
	// or while it ran. SplitDone is that of the other one, or nil if the generation is
	// published and Sweep has removed it.
	Earlier bool
}

// Split sorts the split of this index into a run for each shard. An index above
// those of the plan is no error. If Split fails or ctx is done, it removes its
// files. observe may be nil.
func (p *Plan) Split(ctx context.Context, index int, opts Options, observe func(builder.Status)) (SplitResult, error) {
	if index < 0 {
		return SplitResult{}, permanent(fmt.Errorf("index %d is negative", index))
	}
	if index >= len(p.Splits) {
		return SplitResult{}, nil
	}
	done, err := p.readSplitDone(ctx, index)
	if !errors.Is(err, objects.ErrNotFound) {
		return SplitResult{done, true}, err
	}
	if published, err := p.isPublished(ctx); published || err != nil {
		return SplitResult{nil, true}, err
	}
	w, err := openWorkspace(opts.TempDir)
	if err != nil {
		return SplitResult{}, err
	}
	s := &split{Plan: p, index: index, dir: p.dir.sub(splitName(index)), temp: w.dir, observe: observe}
	s.attempt, err = newAttempt()
	if err == nil {
		done, err = s.run(ctx, opts)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return SplitResult{}, err
	}
	return SplitResult{done, done.Attempt != s.attempt}, nil
}

// newAttempt returns the name of the folder of a new attempt.
func newAttempt() (string, error) {
	var b [8]byte
	_, err := rand.Read(b[:])
	return hex.EncodeToString(b[:]), err
}

// A split is one attempt at a split.
type split struct {
	*Plan
	index   int
	dir     folder // of the split
	attempt string
	temp    string
	observe func(builder.Status)
}

// run builds the runs and makes them count, unless another attempt was faster. The
// result is that of the attempt whose runs count.
func (s *split) run(ctx context.Context, opts Options) (done *SplitDone, err error) {
	runs := s.dir.sub(s.attempt)
	remove := true
	defer func() {
		if remove {
			err = errors.Join(err, s.remove(runs))
		}
	}()
	dir := runs.path
	if !runs.isLocal() {
		dir = filepath.Join(s.temp, "runs")
	}
	started := time.Now()
	summary, err := s.build(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	done = s.describe(summary)
	if done.Files, err = s.store(ctx, runs, summary.Files); err != nil {
		return nil, err
	}
	done.Seconds = time.Since(started).Seconds()
	_, err = s.dir.putJSON(ctx, doneName, done)
	if err == nil {
		remove = false
		return done, nil
	}
	// A request whose answer was lost may have succeeded.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	there, rerr := s.readSplitDone(ctx, s.index)
	switch {
	case rerr == nil:
		remove = there.Attempt != s.attempt
		return there, nil
	case errors.Is(rerr, ErrFormat):
		return nil, rerr
	case !errors.Is(rerr, objects.ErrNotFound):
		remove = false // the runs may count
	}
	return nil, err
}

// object returns the object of a range as the plan has it.
func (s *split) object(r Range) (objects.Store, objects.Object, error) {
	in := s.Inputs[r.Input]
	store, key, err := objects.Parse(in.URL, s.opts)
	if err != nil {
		return nil, objects.Object{}, permanent(err)
	}
	return store, objects.Object{Key: key, Size: in.Size, ETag: in.ETag}, nil
}

// build sorts the rows of the split into runs in dir.
func (s *split) build(ctx context.Context, dir string, opts Options) (builder.Summary, error) {
	var inputs []builder.Input
	for _, r := range s.Splits[s.index] {
		store, o, err := s.object(r)
		if err != nil {
			return builder.Summary{}, err
		}
		inputs = append(inputs, builder.RangeInput(store, o, r.From, r.To))
	}
	summary, err := builder.Build(ctx, builder.Options{
		Inputs:              inputs,
		Dir:                 dir,
		TempDir:             s.temp,
		Generation:          s.id,
		AllowFuture:         true, // the clock of the plan decides
		Sharding:            s.sharding,
		Memory:              opts.Memory,
		Workers:             opts.Workers,
		Duplicates:          policyNames[s.Policies.Duplicates],
		MaxBadRows:          s.Policies.MaxBadRows,
		Delimiter:           s.Policies.Delimiter[0],
		RequireFinalNewline: s.Policies.RequireFinalNewline,
		Guards:              builder.Guards{AllowEmpty: true}, // publish applies them to the sum
		Continued:           s.index > 0,
		Observe:             s.observe,
	})
	return summary, s.explain(ctx, err)
}

// describe returns the done file of the attempt, except for the files.
func (s *split) describe(b builder.Summary) *SplitDone {
	done := &SplitDone{
		Version: formatVersion, Plan: s.digest, Attempt: s.attempt, Rows: b.Rows, Duplicates: b.Duplicates, BadRows: b.BadRows,
		Bad: []BadRow{}, Lines: b.Lines, Unterminated: []int{}, InputBytes: b.InputBytes,
	}
	for _, row := range b.Bad {
		done.Bad = append(done.Bad, BadRow{row.Index, row.Line, row.Column, row.Reason, []byte(row.Text)})
	}
	for _, name := range b.UnterminatedInputs {
		done.Unterminated = append(done.Unterminated, s.Splits[s.index][s.rangeOf(name)].Input)
	}
	return done
}

// rangeOf returns the first range of the split that is of the input with this URL.
func (s *split) rangeOf(url string) int {
	return slices.IndexFunc(s.Splits[s.index], func(r Range) bool { return s.Inputs[r.Input].URL == url })
}

// store puts the runs into their folder, unless it is the directory where they are,
// and describes them.
func (s *split) store(ctx context.Context, runs folder, paths []string) ([]RunFile, error) {
	files := make([]RunFile, len(paths))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sentAtOnce)
	for i, path := range paths {
		g.Go(func() (err error) {
			name := filepath.Base(path)
			if runs.isLocal() {
				files[i], err = describeRun(ctx, runs, name)
			} else {
				files[i], err = sendRun(ctx, runs, path)
			}
			return err
		})
	}
	return files, g.Wait()
}

// sentAtOnce is the number of runs that are sent at the same time. Thousands of small
// ones take the time of a request each.
const sentAtOnce = 16

func describeRun(ctx context.Context, runs folder, name string) (RunFile, error) {
	r, err := runs.store.Open(ctx, runs.prefix+name)
	if err != nil {
		return RunFile{}, err
	}
	defer r.Close()
	return RunFile{name, r.Size(), r.ETag()}, nil
}

// sendRun puts the file at path into runs and removes it.
func sendRun(ctx context.Context, runs folder, path string) (RunFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return RunFile{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return RunFile{}, err
	}
	name := filepath.Base(path)
	etag, err := runs.store.Put(ctx, runs.prefix+name, f, info.Size(), objects.Always)
	if err != nil {
		return RunFile{}, err
	}
	return RunFile{name, info.Size(), etag}, os.Remove(path)
}

// cleanupTimeout bounds the requests of an attempt that was interrupted or has
// failed. Sweep removes the files that remain.
const cleanupTimeout = 10 * time.Second

// remove removes the files of an attempt that does not count.
func (s *split) remove(runs folder) error {
	if runs.isLocal() {
		return os.RemoveAll(runs.path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	keys := make([]string, s.Shards)
	for shard := range keys {
		keys[shard] = runs.prefix + s.fileName(shard)
	}
	_ = runs.store.Delete(ctx, keys...) // Sweep removes the others
	return nil
}

// explain gives the bad rows of an error the lines of their input. A split knows
// only lines after the start of its range. It marks errors that another attempt
// would have too.
func (s *split) explain(ctx context.Context, err error) error {
	if errors.Is(err, objects.ErrNotFound) && s.readsStorage() { // a file may be on a disk that is not mounted
		return permanent(err)
	}
	bad := new(builder.BadRowsError)
	r := s.Splits[s.index][0] // a range that does not begin its input is alone
	if !errors.As(err, &bad) || r.From == 0 {
		return err
	}
	lines, lerr := s.linesBefore(ctx, r)
	if lerr != nil {
		return fmt.Errorf("%w\nLines are counted from byte %d on, because the input cannot be read up to there: %w", err, r.From, lerr)
	}
	bad.ShiftLines(0, lines)
	return err
}

// readsStorage reports whether all inputs of the split are in object storage.
func (s *split) readsStorage() bool {
	return !slices.ContainsFunc(s.Splits[s.index], func(r Range) bool { return !objects.IsURL(s.Inputs[r.Input].URL) })
}

// linesBefore returns the number of lines before the first row that begins in r.
func (s *split) linesBefore(ctx context.Context, r Range) (int64, error) {
	store, o, err := s.object(r)
	if err != nil {
		return 0, err
	}
	return builder.LinesBefore(ctx, store, o, r.From)
}
