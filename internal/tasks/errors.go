package tasks

import (
	"errors"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/transfer"
)

// A permanentError is an error that another attempt would have too.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// permanent marks err, so that IsPermanent reports it.
func permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent reports whether another attempt at a task would fail in the same way,
// because of the inputs, the policies, the plan, or a damaged manifest or pin of Out.
// Other errors, such as those of the network or of a full disk, may pass.
func IsPermanent(err error) bool {
	for _, target := range []error{
		ErrFormat, builder.ErrEmpty, builder.ErrUnterminated, builder.ErrExpansion, builder.ErrNoRows,
		builder.ErrRecords, builder.ErrStyles, builder.ErrWindow, builder.ErrMemory, generation.ErrFuture, generation.ErrPin, transfer.ErrManifest,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return errors.As(err, new(permanentError)) ||
		errors.As(err, new(*builder.BadRowsError)) || errors.As(err, new(*builder.DuplicatesError)) ||
		errors.As(err, new(*builder.GuardError)) || errors.As(err, new(*builder.ContentError)) ||
		errors.As(err, new(*builder.KindError)) || errors.As(err, new(*builder.CompressionError)) ||
		errors.As(err, new(*builder.ChangedError)) || errors.As(err, new(*builder.LastRowError))
}
