package main

import (
	"fmt"
	"io/fs"
	"testing"

	"promostore/builder"
	"promostore/updater"
)

func TestUploadHintNamesFlag(t *testing.T) {
	for _, c := range []struct {
		err  error
		want updater.Hint
	}{
		{&builder.GuardError{Records: 2000, Min: 5000}, updater.Hint{Flag: "--min-records", Text: "--min-records 2000 accepts it"}},
		{&builder.GuardError{Records: 2, Min: 3, Live: 1, LiveRecords: 3}, updater.Hint{Flag: "--max-shrink", Text: "--max-shrink 33.4 accepts it"}},
		{&builder.GuardError{Records: 2, Cause: fs.ErrPermission}, updater.Hint{Flag: "--max-shrink", Text: "--max-shrink 100.0 accepts it"}},
		{&updater.TooLargeError{Limit: 1}, updater.Hint{Flag: "--max-upload", Text: "--max-upload sets the limit"}},
		{builder.ErrWindow, updater.Hint{}},
		{&builder.GuardError{Records: 2000, AtMost: true, Min: 5000}, updater.Hint{Flag: "--min-records", Text: "--min-records 2000, or less if rows repeat an id, accepts it"}},
		{builder.ErrEmpty, updater.Hint{Flag: "--allow-empty", Text: "--allow-empty accepts it"}},
		{&builder.DuplicatesError{IDs: []string{"x"}, Count: 1}, updater.Hint{Flag: "--duplicates", Text: "--duplicates=last or --duplicates=first accepts it"}},
		{&builder.ContentError{Excesses: []builder.Excess{{Kind: "added", Need: 1500.8}, {Kind: "removed", Need: 100}}}, updater.Hint{Flag: "--max-added", Text: "accept it with --max-added 1500.8 --max-removed 100.0"}},
		{&builder.ContentError{Cause: fs.ErrPermission}, updater.Hint{Text: "promobuild build without --max-added, --max-removed and --max-changed publishes it without a comparison"}},
		{builder.ErrMemory, updater.Hint{}},
		{builder.ErrUnterminated, updater.Hint{Flag: "--require-final-newline", Text: "send the whole file; --require-final-newline=false accepts it"}},
		{&builder.BadRowsError{Cause: &builder.DelimiterError{Found: ';', Want: ','}}, updater.Hint{Flag: "--delimiter", Text: "--delimiter ';' reads it"}},
		{fmt.Errorf("%w: %w", builder.ErrEmpty, &builder.DelimiterError{Found: '\t', Want: ','}), updater.Hint{Flag: "--delimiter", Text: `--delimiter '\t' reads it`}},
		{&builder.DelimiterError{Found: ';', Want: ',', Preamble: true}, updater.Hint{Flag: "--delimiter", Text: "--delimiter ';' reads it without its first line"}},
		{fmt.Errorf("%w: %w", builder.ErrEmpty, &builder.KindError{Kind: "HTML page"}), updater.Hint{}},
	} {
		if got := uploadHint(fmt.Errorf("upload: %w", c.err)); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.err, got, c.want)
		}
	}
}
