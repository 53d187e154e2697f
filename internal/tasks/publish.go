package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/diff"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

// Published describes a published generation. It is the content of published.json,
// which the first Publish writes.
type Published struct {
	Version int    `json:"version"` // formatVersion
	Plan    string `json:"plan"`    // SHA-256 of plan.json

	// Summary describes the build. File is a URL, Seconds is the time from the plan
	// to the end, and Phases has the sums of all splits and of all merges.
	builder.Summary

	UnterminatedInputs []string `json:"unterminated_inputs"` // URLs
}

// A PublishResult is the result of Plan.Publish.
type PublishResult struct {
	*Published

	Removed []generation.ID // by keep, oldest first
	Newer   generation.ID   // in Out, that nodes prefer to the published one; 0: none
	Pin     generation.Pin  // of Out
}

// Publish applies the limits of the plan to the sums of all shards, and makes the
// generation visible in Out. If keep is not 0, it deletes generations of Out like
// transfer.Location.Prune, except those of plans in the same WORK that are not
// published: their merges are under way. The error is a *MissingError if a merge is
// not done. A second call has the same Published.
func (p *Plan) Publish(ctx context.Context, keep int) (PublishResult, error) {
	out, err := p.out()
	if err != nil {
		return PublishResult{}, err
	}
	published, err := p.readPublished(ctx)
	if errors.Is(err, objects.ErrNotFound) {
		published, err = p.publish(ctx, out)
	}
	if err != nil {
		return PublishResult{}, err
	}
	result := PublishResult{Published: published}
	if keep > 0 {
		var underWay []generation.ID
		if underWay, err = unpublished(ctx, p.work); err == nil {
			result.Removed, err = out.Prune(ctx, keep, append(underWay, p.id)...)
		}
		if err != nil {
			return result, fmt.Errorf("generation %s is published, but old ones cannot be deleted: %w", p.id, err)
		}
	}
	visible, _, err := out.Generations(ctx)
	now := time.Now()
	for _, id := range visible {
		if p.id.Before(id, now) && (result.Newer == 0 || result.Newer.Before(id, now)) {
			result.Newer = id
		}
	}
	if err == nil {
		result.Pin, _, err = out.Pin(ctx)
	}
	if err != nil {
		err = fmt.Errorf("generation %s is published, but it is unknown whether nodes prefer another one: %w", p.id, err)
		if errors.Is(err, generation.ErrPin) {
			err = permanent(fmt.Errorf("%w; delete this file, or push it again", err))
		}
	}
	return result, err
}

// unpublished returns the generations of plans in work that are not published.
func unpublished(ctx context.Context, work folder) ([]generation.ID, error) {
	ids, err := planIDs(ctx, work)
	if err != nil {
		return nil, err
	}
	var list []generation.ID
	for _, id := range ids {
		_, published, err := work.sub(id.String()).modified(ctx, publishedName)
		if err != nil {
			return nil, err
		}
		if !published {
			list = append(list, id)
		}
	}
	return list, nil
}

// publish makes the generation visible.
func (p *Plan) publish(ctx context.Context, out transfer.Location) (*Published, error) {
	t := totals{Plan: p}
	if err := t.addMerges(ctx); err != nil {
		return nil, err
	}
	if err := t.addSplits(ctx); err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	published := t.published(out)
	file := published.SummaryFile(generation.SourceCommand, p.Program, p.Planned)
	for _, in := range p.Inputs {
		file.Inputs = append(file.Inputs, generation.SummaryInput{Name: in.URL, Size: in.Size})
	}
	out.PutSummary(ctx, p.id, *file)
	_, err := out.Publish(ctx, transfer.NewManifest(p.id, p.sharding, uint64(t.sum.Records), t.files))
	if errors.Is(err, transfer.ErrConflict) {
		err = permanent(err)
	}
	if err != nil {
		return nil, err
	}
	_, err = p.dir.putJSON(ctx, publishedName, published)
	if err != nil && !errors.Is(err, objects.ErrExists) {
		return nil, err
	}
	return p.readPublished(ctx) // the same in all calls
}

// readPublished reads the description of the published generation. The error wraps
// objects.ErrNotFound if it is not published.
func (p *Plan) readPublished(ctx context.Context) (*Published, error) {
	published := new(Published)
	if _, err := p.dir.readJSON(ctx, publishedName, maxDoneLen, published); err != nil {
		return nil, err
	}
	if published.Plan != p.digest {
		return nil, fmt.Errorf("%s: %w", p.dir.url(publishedName), errOtherPlan)
	}
	if s := published.Summary; s.Generation != p.Generation || s.Shards != p.Shards || s.ShardBy != p.ShardBy || (s.LargestShard != nil) != (p.Shards > 1) {
		return nil, formatError("%s: generation %s of %s", p.dir.url(publishedName), s.Generation, shardsText(s.Shards, s.ShardBy))
	}
	published.Summary.UnterminatedInputs = published.UnterminatedInputs
	return published, nil
}

// isPublished reports whether the generation is published. Tasks have nothing to do
// then, and Sweep may have removed their done files.
func (p *Plan) isPublished(ctx context.Context) (bool, error) {
	_, err := p.readPublished(ctx)
	if errors.Is(err, objects.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// totals are the sums over the tasks of a plan.
type totals struct {
	*Plan
	files   []transfer.File // by shard
	largest builder.ShardSize
	sum     builder.Summary // Records, Duplicates, BadRows, Rows and InputBytes
	changes *diff.Counts    // nil: not compared
	bad     []builder.BadRow
	cut     []string // inputs without a line end
	seconds struct{ split, merge float64 }
}

// addMerges adds up the done files of the merges.
func (t *totals) addMerges(ctx context.Context) error {
	merges := make([]*MergeDone, t.Shards)
	err := forEach(ctx, "merge", t.Shards, func(ctx context.Context, shard int) (err error) {
		merges[shard], err = t.readMergeDone(ctx, shard)
		return err
	})
	if err != nil {
		return err
	}
	if t.comparesContent() {
		t.changes = new(diff.Counts)
	}
	for shard, m := range merges {
		if (m.Comparison != nil) != (t.changes != nil) {
			return formatError("%s: a comparison is missing, or was not asked for", t.dir.sub(mergeName(shard)).url(doneName))
		}
		if t.changes != nil {
			t.changes.Add(*m.Comparison)
		}
		if m.Records > t.largest.Records {
			t.largest = builder.ShardSize{Shard: shard, Records: m.Records}
		}
		t.files = append(t.files, m.File)
		t.sum.FileBytes += m.File.Size
		t.sum.Records += m.Records
		t.sum.Duplicates += m.Duplicates
		t.sum.BadRows += m.BadRows
		t.seconds.merge += m.Seconds
	}
	return nil
}

// addSplits adds up the done files of the splits.
func (t *totals) addSplits(ctx context.Context) error {
	splits := make([]*SplitDone, len(t.Splits))
	err := forEach(ctx, "split", len(t.Splits), func(ctx context.Context, i int) error {
		done, err := t.readSplitDone(ctx, i)
		if err == nil {
			done.Files = nil // thousands of splits may have thousands of files each
			splits[i] = done
		}
		return err
	})
	if err != nil {
		return err
	}
	var before int64 // lines of the input before the range
	for i, s := range splits {
		bad := s.Bad
		for j, r := range t.Splits[i] {
			if r.From == 0 {
				before = 0
			}
			for len(bad) > 0 && bad[0].Range == j {
				b := bad[0]
				t.bad = append(t.bad, builder.BadRow{
					Input: t.Inputs[r.Input].URL, Line: before + b.Line, Column: b.Column, Reason: b.Reason, Text: string(b.Text),
				})
				bad = bad[1:]
			}
			before += s.Lines[j]
		}
		for _, input := range s.Unterminated {
			t.cut = append(t.cut, t.Inputs[input].URL)
		}
		t.sum.Rows += s.Rows
		t.sum.InputBytes += s.InputBytes
		t.seconds.split += s.Seconds
	}
	t.bad = t.bad[:min(len(t.bad), maxBad)]
	return nil
}

// check applies the limits of the plan, in the order of a build.
func (t *totals) check() error {
	if rows := t.sum.Records + t.sum.Duplicates + t.sum.BadRows; rows != t.sum.Rows {
		return formatError("%s: the merges have %d rows and the splits %d", t.URL(), rows, t.sum.Rows)
	}
	bad := &builder.BadRowsError{Rows: t.bad, Count: t.sum.BadRows, Max: t.Policies.MaxBadRows}
	if bad.Count > bad.Max {
		return bad
	}
	inputs := make([]builder.Input, len(t.Inputs))
	for i, in := range t.Inputs {
		inputs[i].Name = in.URL
	}
	g := t.Policies.guards()
	if err := g.CheckEmpty(t.sum.Rows-t.sum.BadRows, inputs, bad); err != nil {
		return err
	}
	if err := g.CheckRecords(t.sum.Records, false, t.live); err != nil {
		return err
	}
	if t.changes == nil {
		return nil
	}
	return g.CheckContent(t.comparison())
}

// live returns the generation that the limits compare with.
func (t *totals) live() (builder.Live, error) {
	if t.Live == nil {
		return builder.Live{}, generation.ErrNoneServable
	}
	id, err := generation.ParseID(t.Live.Generation)
	return builder.Live{ID: id, Records: int64(t.Live.Records)}, err
}

// comparison returns the comparison with the live generation, or nil.
func (t *totals) comparison() *builder.Comparison {
	if t.changes == nil {
		return nil
	}
	return &builder.Comparison{Live: t.Live.Generation, LiveRecords: int64(t.Live.Records), Counts: *t.changes}
}

// published returns the description of the generation.
func (t *totals) published(out transfer.Location) *Published {
	s := t.sum
	s.Generation, s.Shards, s.ShardBy = t.Generation, t.Shards, t.ShardBy
	s.File = out.String() + "/" + t.files[0].Name
	if t.Shards > 1 {
		s.LargestShard = &t.largest
	}
	s.Seconds = time.Since(t.Planned).Seconds()
	s.Phases = map[builder.Phase]float64{PhaseSplit: t.seconds.split, builder.PhaseMerge: t.seconds.merge}
	s.Comparison = t.comparison()
	s.Bad = t.bad
	s.Unterminated, s.UnterminatedInputs = len(t.cut) > 0, t.cut
	return &Published{Version: formatVersion, Plan: t.digest, Summary: s, UnterminatedInputs: t.cut}
}

// PhaseSplit is the time of all splits in the Phases of a Published.
const PhaseSplit builder.Phase = "split"
