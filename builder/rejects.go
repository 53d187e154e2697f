package builder

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
)

// A rowCounter counts rows and collects bad rows. It must get the chunks of each
// lane in their order, one at a time.
type rowCounter struct {
	opts    *Options
	rejects *csv.Writer // nil if there is no Options.Rejects

	total    int64 // good and bad rows
	badCount int64
	lines    []int64 // of each input so far
	lanes    []laneRows
}

// laneRows holds the rows of a lane so far.
type laneRows struct {
	bad   []BadRow
	cause error // why rows of an earlier input are bad, or nil

	input     int // of the last chunk; -1 before the first one
	diagnosis diagnosis
}

// start starts to count the rows of a number of lanes. It writes the header of the
// rejects.
func (r *rowCounter) start(ctx context.Context, opts *Options, lanes int) error {
	r.opts, r.lines, r.lanes = opts, make([]int64, len(opts.Inputs)), make([]laneRows, lanes)
	for i := range r.lanes {
		r.lanes[i].input = -1
	}
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
	keep = true
	in := &r.opts.Inputs[c.input]
	if c.cut {
		if keep, err = p.checkCut(c, r.opts.Continued && !r.tooManyBad()); err != nil {
			return false, fmt.Errorf("%s: %w", in.Name, err)
		}
	}
	l := &r.lanes[c.lane]
	if c.input != l.input {
		l.endInput(r.opts)
		l.input, l.diagnosis = c.input, diagnosis{ended: in.continues()}
	}
	for _, bad := range p.bad {
		if err := r.reject(c, p, bad); err != nil {
			return false, err
		}
	}
	r.lines[c.input] += p.lines
	r.total += int64(len(p.records) + len(p.bad))
	l.diagnosis.add(c, p)
	if d := &l.diagnosis; r.tooManyBad() && r.rejects == nil && (d.all != nil && d.rows == maxExamined || d.all == nil && d.first != nil && d.ended) {
		l.endInput(r.opts)
		return false, r.badRowsError(true)
	}
	return keep, nil
}

// endInput keeps the cause of the bad rows of the input that ends.
func (l *laneRows) endInput(opts *Options) {
	if cause := l.diagnosis.cause(); cause != nil && l.cause == nil {
		l.cause = fmt.Errorf("%s: %w", opts.Inputs[l.input].Name, cause)
	}
}

// first returns the first bad rows, and the first cause why rows are bad.
func (r *rowCounter) first() (bad []BadRow, cause error) {
	for i := range r.lanes {
		bad = append(bad, r.lanes[i].bad...)
		cause = cmp.Or(cause, r.lanes[i].cause)
	}
	return bad[:min(len(bad), maxShown)], cause
}

func (r *rowCounter) badRowsError(stopped bool) *BadRowsError {
	bad, cause := r.first()
	return &BadRowsError{Rows: bad, Count: r.badCount, Max: r.opts.MaxBadRows, Cause: cause, Stopped: stopped}
}

func (r *rowCounter) reject(c chunk, p *parser, bad badLine) error {
	l := &r.lanes[c.lane]
	r.badCount++
	if len(l.bad) == maxShown && r.rejects == nil {
		return nil
	}
	row := p.explain(c, bad)
	row.Index, row.Input = c.input, r.opts.Inputs[c.input].Name
	row.Line += r.lines[c.input]
	if r.rejects != nil {
		err := r.rejects.Write([]string{row.Input, strconv.FormatInt(row.Line, 10), strconv.Itoa(row.Column), row.Reason, row.Text})
		if err != nil {
			return rejectsError(err)
		}
	}
	if len(l.bad) < maxShown {
		row.Text = strings.Clone(row.Text[:min(len(row.Text), maxText)])
		l.bad = append(l.bad, row)
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
	for i := range r.lanes {
		r.lanes[i].endInput(r.opts)
	}
	if r.tooManyBad() {
		return r.badRowsError(false)
	}
	return r.opts.CheckEmpty(r.good(), r.opts.Inputs, r.badRowsError(false))
}
