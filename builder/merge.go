package builder

import (
	"context"
	"errors"
	"fmt"

	"promostore/format"
)

// MergeOptions configures a merge.
type MergeOptions struct {
	// Runs are the paths of generation files of one shard, in the order of their
	// inputs, which decides between duplicates. A run may have no records. Merge
	// does not change them.
	Runs       []string
	Out        string     // path of the merged file; an existing file is replaced
	Memory     int64      // bytes; at least MinMemory
	Workers    int        // goroutines that sort and write; 0: one for each processor
	Duplicates Duplicates // the policy of the builds that wrote the runs

	// Observe, if not nil, is called at the start of each phase and then often.
	// Calls do not overlap. Observe must not block.
	Observe func(Status)
}

// Errors of Merge, wrapped with details.
var (
	// ErrForeignRun means that a run is of another generation, sharding or shard
	// than the first run.
	ErrForeignRun = errors.New("not a run of the same shard")
)

// A RunError reports a run that cannot be merged. It wraps ErrForeignRun, an error
// of package format if the run is damaged, or an error of the file system.
type RunError struct {
	Path string
	Err  error
}

func (e *RunError) Error() string { return fmt.Sprintf("run %s: %v", e.Path, e.Err) }

// Unwrap returns the cause.
func (e *RunError) Unwrap() error { return e.Err }

// Merge merges generation files of one shard into one file, durably, and returns
// its header. If every run is the file of the shard in a build of one part of the
// rows, the result is the file in one build of all rows, byte for byte. If Merge
// fails or ctx is done, it leaves no file.
//
// The errors to check for are *RunError, *DuplicatesError, *SpaceError, ErrStyles,
// ErrMemory, and those of the file system.
func Merge(ctx context.Context, opts MergeOptions) (format.Header, error) {
	return format.Header{}, errors.ErrUnsupported
}
