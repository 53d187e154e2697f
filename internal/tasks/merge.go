package tasks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"promostore/builder"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

// A MergeResult is the result of Plan.Merge.
type MergeResult struct {
	*MergeDone // nil if the plan has no such shard

	// Earlier means that another attempt had done the merge, before this one began
	// or while it ran. MergeDone is nil if the generation is published and Sweep has
	// removed it.
	Earlier bool
}

// Merge merges the runs of a shard, in the order of the splits, into its file in
// the Out of the plan. A shard above those of the plan is no error. The error is a
// *MissingError if a split is not done. If Merge fails or ctx is done, it removes
// its files. observe may be nil.
func (p *Plan) Merge(ctx context.Context, shard int, opts Options, observe func(builder.Status)) (MergeResult, error) {
	if shard < 0 {
		return MergeResult{}, permanent(fmt.Errorf("index %d is negative", shard))
	}
	if shard >= p.Shards {
		return MergeResult{}, nil
	}
	out, err := p.out()
	if err != nil {
		return MergeResult{}, err
	}
	done, err := p.readMergeDone(ctx, shard)
	if err == nil {
		has, err := out.HasSize(ctx, done.File)
		if has || err != nil {
			return MergeResult{done, true}, err
		}
	} else if !errors.Is(err, objects.ErrNotFound) {
		return MergeResult{}, err
	} else if published, err := p.isPublished(ctx); published || err != nil {
		return MergeResult{nil, true}, err
	}
	w, err := openWorkspace(opts.TempDir)
	if err != nil {
		return MergeResult{}, err
	}
	m := &merge{Plan: p, shard: shard, out: out, temp: w.dir, started: time.Now(), observe: observe}
	earlier := false
	done, err = m.run(ctx, opts)
	if err == nil {
		done, earlier, err = m.finish(ctx, done)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return MergeResult{}, err
	}
	return MergeResult{done, earlier}, nil
}

// out returns the Out of the plan.
func (p *Plan) out() (transfer.Location, error) {
	l, err := transfer.Parse(p.Out, p.opts)
	return l, permanent(err)
}

// A merge is one attempt at a merge.
type merge struct {
	*Plan
	shard   int
	out     transfer.Location
	temp    string
	started time.Time
	observe func(builder.Status) // may be nil
}

// run merges the runs, compares the result with the live generation, and puts it
// into Out.
func (m *merge) run(ctx context.Context, opts Options) (*MergeDone, error) {
	if err := m.checkLive(); err != nil {
		return nil, err
	}
	runs, err := m.runs(ctx)
	if err != nil {
		return nil, err
	}
	// A file in a directory is written where it is to be, so that it is not copied.
	path, direct, err := m.out.TempPath(m.fileName(m.shard))
	if err != nil {
		return nil, err
	}
	if !direct {
		path = filepath.Join(m.temp, m.fileName(m.shard))
	}
	defer os.Remove(path)
	paths, err := m.receive(ctx, runs)
	if err != nil {
		return nil, err
	}
	header, err := builder.Merge(ctx, builder.MergeOptions{
		Runs: paths, Out: path, Memory: opts.Memory, Workers: opts.Workers, Duplicates: policyNames[m.Policies.Duplicates], Observe: m.observe,
	})
	if err != nil {
		return nil, m.explainRun(err)
	}
	if err := m.removeReceived(); err != nil { // before the live file needs the space
		return nil, err
	}
	done := &MergeDone{
		Version: formatVersion, Plan: m.digest,
		Records: int64(header.Records), Duplicates: int64(header.Duplicates), BadRows: int64(header.BadRows),
	}
	if done.Comparison, err = m.compare(ctx, path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if done.File, err = m.describe(ctx, f); err != nil {
		return nil, err
	}
	if direct {
		err = m.out.TakeFile(ctx, done.File, path)
	} else {
		err = m.out.PutFile(ctx, done.File, f)
	}
	if errors.Is(err, transfer.ErrConflict) {
		return nil, permanent(fmt.Errorf("%w; plan with another generation ID", err))
	}
	done.Seconds = time.Since(m.started).Seconds()
	return done, err
}

// finish writes the done file. Another attempt may have been faster.
func (m *merge) finish(ctx context.Context, done *MergeDone) (_ *MergeDone, earlier bool, err error) {
	_, err = m.dir.sub(mergeName(m.shard)).putJSON(ctx, doneName, done)
	if !errors.Is(err, objects.ErrExists) {
		return done, false, err
	}
	there, err := m.readMergeDone(ctx, m.shard)
	if err == nil && (there.File.Size != done.File.Size || there.File.SHA256 != done.File.SHA256) {
		err = formatError("%s: it describes another file than that of this attempt", m.dir.sub(mergeName(m.shard)).url(doneName))
	}
	return there, true, err
}

// describe returns the entry of the merged file in the manifest.
func (m *merge) describe(ctx context.Context, f *os.File) (transfer.File, error) {
	sum, size, err := transfer.Checksum(ctx, f)
	return transfer.File{Name: m.fileName(m.shard), Size: size, SHA256: sum}, err
}
