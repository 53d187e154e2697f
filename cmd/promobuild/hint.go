package main

import (
	"errors"
	"fmt"

	"promostore/builder"
	"promostore/updater"
)

// hint returns the flag of the updater that accepts the data set that err
// rejects, or other advice.
func hint(err error) updater.Hint {
	var guard *builder.GuardError
	switch {
	case errors.As(err, &guard) && guard.Live == 0:
		return updater.Hint{Flag: "--min-records", Text: fmt.Sprintf("--min-records %d accepts it", guard.Records)}
	case errors.As(err, &guard):
		return updater.Hint{Flag: "--max-shrink", Text: fmt.Sprintf("--max-shrink %.1f accepts it", guard.MaxShrink())}
	case errors.As(err, new(*updater.TooLargeError)):
		return updater.Hint{Flag: "--max-upload", Text: "--max-upload sets the limit"}
	case errors.Is(err, builder.ErrWindow):
		return updater.Hint{Text: "compress it without the --ultra and --long flags of zstd"}
	}
	return updater.Hint{}
}
