package builder

import (
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
	input    int   // of the last chunk
	lines    int64 // of this input so far
	bad      []BadRow
	badCount int64
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

// add counts the rows of c, which p has parsed.
func (r *rowCounter) add(c chunk, p *parser) error {
	if c.input != r.input {
		r.input, r.lines = c.input, 0
	}
	for _, bad := range p.bad {
		if err := r.reject(c, p, bad); err != nil {
			return err
		}
	}
	r.lines += p.lines
	r.total += int64(len(p.records) + len(p.bad))
	return nil
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
	if r.tooManyBad() {
		return &BadRowsError{Rows: r.bad, Count: r.badCount, Max: r.opts.MaxBadRows}
	}
	if r.good() > 0 || r.opts.AllowEmpty {
		return nil
	}
	if r.badCount > 0 {
		return fmt.Errorf("%w: %d bad rows, the first is %s", ErrEmpty, r.badCount, r.bad[0])
	}
	return ErrEmpty
}
