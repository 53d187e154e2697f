package tasks

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"promostore/format/generation"
	"promostore/internal/diff"
	"promostore/internal/transfer"
)

// A SplitDone describes the attempt at a split whose runs count.
type SplitDone struct {
	Version      int       `json:"version"` // formatVersion
	Plan         string    `json:"plan"`    // SHA-256 of plan.json
	Attempt      string    `json:"attempt"` // 16 hex digits: the folder of the runs
	Files        []RunFile `json:"files"`   // by shard
	Rows         int64     `json:"rows"`
	Duplicates   int64     `json:"duplicates"` // the headers of the runs have the number of each shard
	BadRows      int64     `json:"bad_rows"`
	Bad          []BadRow  `json:"bad"`          // the first ones, in order
	Lines        []int64   `json:"lines"`        // of each range
	Unterminated []int     `json:"unterminated"` // indexes of the inputs whose last row has no line end
	InputBytes   int64     `json:"input_bytes"`  // compressed bytes of compressed inputs
	Seconds      float64   `json:"seconds"`
}

// A RunFile is a run of a split.
type RunFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
	ETag string `json:"etag"`
}

// A BadRow is a row that a split skipped.
type BadRow struct {
	Range  int    `json:"range"` // of the split
	Line   int64  `json:"line"`  // counted from 1 at the first row of the range
	Column int    `json:"column"`
	Reason string `json:"reason"`
	Text   []byte `json:"text"` // cut; in base64, because it may not be valid UTF-8
}

// A MergeDone describes the file of a shard.
type MergeDone struct {
	Version    int           `json:"version"` // formatVersion
	Plan       string        `json:"plan"`    // SHA-256 of plan.json
	File       transfer.File `json:"file"`
	Records    int64         `json:"records"`
	Duplicates int64         `json:"duplicates"`
	BadRows    int64         `json:"bad_rows"`
	Comparison *diff.Counts  `json:"comparison,omitempty"` // with the same shard of the live generation; nil: not compared
	Seconds    float64       `json:"seconds"`
}

const (
	maxDoneLen = 16 << 20 // bytes; a done file of 4,096 runs has 500 kB
	maxBad     = 20       // bad rows of a SplitDone
)

// name returns the name of the file of a shard.
func (p *Plan) name(shard int) generation.Name {
	return generation.Name{ID: p.id, Shard: shard, Shards: p.Shards}
}

func (p *Plan) fileName(shard int) string { return p.name(shard).String() }

// readSplitDone reads and checks the done file of a split. The error wraps
// objects.ErrNotFound if the split is not done.
func (p *Plan) readSplitDone(ctx context.Context, index int) (*SplitDone, error) {
	d := new(SplitDone)
	dir := p.dir.sub(splitName(index))
	if _, err := dir.readJSON(ctx, doneName, maxDoneLen, d); err != nil {
		return nil, err
	}
	if err := d.check(p, index); err != nil {
		return nil, fmt.Errorf("%s: %w", dir.url(doneName), err)
	}
	return d, nil
}

func (d *SplitDone) check(p *Plan, index int) error {
	if d.Plan != p.digest {
		return errOtherPlan
	}
	if !isAttempt(d.Attempt) {
		return formatError("attempt %q", d.Attempt)
	}
	if len(d.Files) != p.Shards {
		return formatError("%d files, want %d", len(d.Files), p.Shards)
	}
	for shard, f := range d.Files {
		if f.Name != p.fileName(shard) || f.Size <= 0 || f.ETag == "" {
			return formatError("file %d: name %q, size %d, ETag %q", shard, f.Name, f.Size, f.ETag)
		}
	}
	ranges := len(p.Splits[index])
	if len(d.Lines) != ranges || len(d.Bad) > maxBad || int64(len(d.Bad)) > d.BadRows ||
		d.Rows < 0 || d.Duplicates < 0 || d.InputBytes < 0 || d.Duplicates > d.Rows || d.BadRows > d.Rows-d.Duplicates {
		return formatError("%d ranges of %d, %d of %d bad rows, %d duplicates, %d rows", len(d.Lines), ranges, len(d.Bad), d.BadRows, d.Duplicates, d.Rows)
	}
	for _, n := range d.Lines {
		if n < 0 {
			return formatError("%d lines", n)
		}
	}
	for _, b := range d.Bad {
		if b.Range < 0 || b.Range >= ranges || b.Line < 1 {
			return formatError("bad row at line %d of range %d of %d", b.Line, b.Range, ranges)
		}
	}
	for _, i := range d.Unterminated {
		if i < 0 || i >= len(p.Inputs) {
			return formatError("input %d of %d is unterminated", i, len(p.Inputs))
		}
	}
	return nil
}

// errOtherPlan reports a done file that a task of an earlier plan left.
var errOtherPlan = formatError("it belongs to another plan of the same generation; plan with another --generation")

// readMergeDone reads and checks the done file of a shard. The error wraps
// objects.ErrNotFound if the shard is not merged.
func (p *Plan) readMergeDone(ctx context.Context, shard int) (*MergeDone, error) {
	d := new(MergeDone)
	dir := p.dir.sub(mergeName(shard))
	if _, err := dir.readJSON(ctx, doneName, maxDoneLen, d); err != nil {
		return nil, err
	}
	if err := d.check(p, shard); err != nil {
		return nil, fmt.Errorf("%s: %w", dir.url(doneName), err)
	}
	return d, nil
}

func (d *MergeDone) check(p *Plan, shard int) error {
	if d.Plan != p.digest {
		return errOtherPlan
	}
	if err := d.File.Check(p.name(shard)); err != nil {
		return formatError("%v", err)
	}
	if d.Records < 0 || d.Duplicates < 0 || d.BadRows < 0 {
		return formatError("%d records, %d duplicates, %d bad rows", d.Records, d.Duplicates, d.BadRows)
	}
	if c := d.Comparison; c != nil && (c.Added < 0 || c.Removed < 0 || c.Changed < 0 || c.Unchanged < 0) {
		return formatError("comparison %+v", *c)
	}
	return nil
}

// isAttempt reports whether s is the name of the folder of an attempt.
func isAttempt(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 8 && strings.ToLower(s) == s
}
