package builder

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
)

// A rowCounter counts rows and collects bad rows. It must get the chunks in
// their order, one at a time.
type rowCounter struct {
	opts    *Options
	rejects *csv.Writer // nil if there is no Options.Rejects

	total    int64 // good and bad rows
	bad      []BadRow
	badCount int64
	cause    error // why rows of an earlier input are bad, or nil

	input     int   // of the last chunk
	lines     int64 // of this input so far
	diagnosis diagnosis
}

// start writes the header of the rejects.
func (r *rowCounter) start(ctx context.Context, opts *Options) error {
	r.opts = opts
	if opts.Rejects == nil {
		return nil
	}
	r.rejects = csv.NewWriter(newCancelable(ctx, opts.Rejects.Write))
	return rejectsError(r.rejects.Write([]string{"file", "line", "column", "reason", "row"}))
}

func rejectsError(err error) error {
	if err != nil {
		return fmt.Errorf("rejects: %w", err)
	}
	return nil
}

// good returns the number of good rows, duplicates included.
func (r *rowCounter) good() int64 { return r.total - r.badCount }

func (r *rowCounter) tooManyBad() bool { return r.badCount > r.opts.MaxBadRows }

// add counts the rows of c, which p has parsed. keep is false if the only row of c
// is cut.
func (r *rowCounter) add(c chunk, p *parser) (keep bool, err error) {
	keep = !c.cut || p.checkCut(c)
	if c.input != r.input {
		r.endInput()
		r.input, r.lines, r.diagnosis = c.input, 0, diagnosis{}
	}
	for _, bad := range p.bad {
		if err := r.reject(c, p, bad); err != nil {
			return false, err
		}
	}
	r.lines += p.lines
	r.total += int64(len(p.records) + len(p.bad))
	r.diagnosis.add(c, p)
	if d := &r.diagnosis; r.tooManyBad() && r.rejects == nil && (d.all != nil && d.rows == maxExamined || d.all == nil && d.first != nil && d.ended) {
		r.endInput()
		return false, r.badRowsError(true)
	}
	return keep, nil
}

// endInput keeps the cause of the bad rows of the input that ends.
func (r *rowCounter) endInput() {
	d := &r.diagnosis
	if cause := cmp.Or(d.all, d.first); cause != nil && r.cause == nil {
		r.cause = fmt.Errorf("%s: %w", r.opts.Inputs[r.input].Name, cause)
	}
}

func (r *rowCounter) badRowsError(stopped bool) error {
	return &BadRowsError{Rows: r.bad, Count: r.badCount, Max: r.opts.MaxBadRows, Cause: r.cause, Stopped: stopped}
}

func (r *rowCounter) reject(c chunk, p *parser, bad badLine) error {
	r.badCount++
	if len(r.bad) == maxShown && r.rejects == nil {
		return nil
	}
	row := p.explain(c, bad)
	row.Input = r.opts.Inputs[c.input].Name
	row.Line += r.lines
	if r.rejects != nil {
		err := r.rejects.Write([]string{row.Input, strconv.FormatInt(row.Line, 10), strconv.Itoa(row.Column), row.Reason, row.Text})
		if err != nil {
			return rejectsError(err)
		}
	}
	if len(r.bad) < maxShown {
		row.Text = strings.Clone(row.Text[:min(len(row.Text), maxText)])
		r.bad = append(r.bad, row)
	}
	return nil
}

// finish flushes the rejects and checks the numbers of rows.
func (r *rowCounter) finish() error {
	if r.rejects != nil {
		r.rejects.Flush()
		if err := r.rejects.Error(); err != nil {
			return rejectsError(err)
		}
	}
	r.endInput()
	if r.tooManyBad() {
		return r.badRowsError(false)
	}
	if r.good() > 0 || r.opts.AllowEmpty {
		return nil
	}
	switch {
	case r.cause != nil:
		return fmt.Errorf("%w: %s: %w", ErrEmpty, badRows(r.badCount), r.cause)
	case r.badCount > 0:
		return fmt.Errorf("%w: %s\n  %s", ErrEmpty, badRows(r.badCount), r.bad[0])
	}
	return ErrEmpty
}
