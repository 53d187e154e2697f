package generation

import (
	"time"

	"promostore/internal/fsx"
)

// A Refusal records that a file was checked and is not servable. It tells when
// to check the file again although its size and times are the same. The zero
// value refuses no file.
//
// A bad file may become good without a change of these. A write sets the times
// when it begins, and a long one, such as cp to a network file system, goes on
// for minutes. Network file systems also report attributes late. So the pause
// before the next check is as long as the file has been refused, and after
// settleTime it is not checked any more.
type Refusal struct {
	file        fsx.Identity
	transient   bool
	first, last time.Time // checks of the file since it changed
}

const (
	minPause = 500 * time.Millisecond
	maxPause = time.Minute // after transient errors

	settleTime = time.Hour
)

// Again returns the refusal after another check of the file, which ended at the
// time now. transient means that the check failed because of an error of the
// operating system; then the file is checked again as long as it exists.
func (r Refusal) Again(file fsx.Identity, transient bool, now time.Time) Refusal {
	if !r.file.Equal(file) {
		r.first = now
	}
	return Refusal{file, transient, r.first, now}
}

// Holds reports whether checking the file again is pointless at the time now.
// file is its present identity.
func (r Refusal) Holds(file fsx.Identity, now time.Time) bool {
	if !r.file.Equal(file) {
		return false
	}
	age := r.last.Sub(r.first)
	pause := max(age, minPause)
	if r.transient {
		pause = min(pause, maxPause)
	} else if age >= settleTime {
		return true
	}
	return now.Before(r.last.Add(pause))
}

// File returns the identity of the refused file.
func (r Refusal) File() fsx.Identity { return r.file }
