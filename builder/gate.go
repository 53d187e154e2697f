package builder

import (
	"errors"
	"fmt"

	"promostore/format/generation"
)

// A GateError says that a table has fewer records than what is expected of it.
type GateError struct {
	Flag    string        // of the program, that lets it through: --min-records or --max-shrink
	Value   string        // of that flag
	Records int64         // of the table; if it was refused before it was sorted, with its duplicates
	Want    int64         // at least
	Live    generation.ID // the generation that it was compared with; 0 if none was
	Shrink  float64       // by how much it is smaller, in per cent
}

func (e *GateError) Error() string {
	text := fmt.Sprintf("%d records are fewer than the %d that there have to be", e.Records, e.Want)
	if e.Live != 0 {
		text = fmt.Sprintf("%d records are %.1f %% fewer than the live generation %s has: there have to be %d", e.Records, e.Shrink, e.Live, e.Want)
	}
	return fmt.Sprintf("%s; nothing was published; %s %s lets it through", text, e.Flag, e.Value)
}

// gate is an error if records are too few.
func (b *build) gate(records int64) error {
	if records < b.MinRecords {
		return &GateError{Flag: "--min-records", Value: fmt.Sprint(records), Records: records, Want: b.MinRecords}
	}
	if b.MaxShrink <= 0 {
		return nil
	}
	live, header, err := generation.Live(b.Dir)
	if errors.Is(err, generation.ErrNoneServable) {
		return nil
	}
	if err != nil {
		return err
	}
	had := int64(header.Records)
	const rounding = 1 + 1e-12 // 10.1 % of 1,000 are 101, also for a float64
	want := had - int64(float64(had)*b.MaxShrink/100*rounding)
	if records >= want {
		return nil
	}
	lost := had - records
	tenths := (1000*lost + had - 1) / had // of a per cent, rounded up
	return &GateError{
		Flag: "--max-shrink", Value: fmt.Sprintf("%d.%d", tenths/10, tenths%10),
		Records: records, Want: want, Live: live.ID, Shrink: float64(lost) / float64(had) * 100,
	}
}
