package generation

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"

	"promostore/format"
)

var (
	// ErrIncomplete reports that files of the generation are missing. The error
	// that wraps it is an *IncompleteError.
	ErrIncomplete = errors.New("incomplete")

	// ErrMisnamed reports that a header names another generation or shard than
	// the file name.
	ErrMisnamed = errors.New("the header contradicts the file name")

	// ErrDisagree reports that the files of a generation do not belong together.
	ErrDisagree = errors.New("the files of the generation disagree")

	// ErrAbsent reports that a directory lacks the wanted generation.
	ErrAbsent = errors.New("no such generation")

	// ErrNoneServable reports that no generation of a directory is servable.
	ErrNoneServable = errors.New("no servable generation")
)

// An IncompleteError names the missing shards of a generation. It wraps
// ErrIncomplete.
type IncompleteError struct {
	ID      ID
	Shards  int   // number of shards of the generation
	Missing []int // those of the needed shards that are missing
}

// Unwrap returns ErrIncomplete.
func (e *IncompleteError) Unwrap() error { return ErrIncomplete }

func (e *IncompleteError) Error() string {
	return fmt.Sprintf("generation %s: %v: %s", e.ID, ErrIncomplete, e.reason())
}

func (e *IncompleteError) reason() string {
	return fmt.Sprintf("missing %d of %d shards: %s", len(e.Missing), e.Shards, ShardRanges(e.Missing))
}

// A FileError names the file because of which a generation is not servable.
type FileError struct {
	Path string
	Err  error // names the path, too
}

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

func (e *FileError) Error() string { return e.Err.Error() }

// FileOf returns the path of the file that an error of Open or Verify is about, or
// that of the first file if it is about no single file.
func (g Generation) FileOf(err error) string {
	if file := (*FileError)(nil); errors.As(err, &file) {
		return file.Path
	}
	return g.Files[0]
}

// A File is an open file of a generation.
type File interface {
	Header() *format.Header
	Styles() []format.TimestampStyle
	Close() error
}

// Open opens the files of g that a server of these digits needs, and checks
// conditions 1, 4 and 6 of a servable generation. The function open checks
// conditions 2 and 3, and the caller verifies the blocks. The index of a file is
// its shard; the other elements are zero.
//
// The error is an *IncompleteError, or a *FileError that wraps ErrMisnamed,
// ErrDisagree or an error of open.
func Open[F File](g Generation, digits Digits, open func(path string) (F, error)) (files []F, err error) {
	need := g.needed(digits)
	if err := g.checkPresent(need); err != nil {
		return nil, err
	}
	opened := make([]F, g.Shards)
	members := make([]member, 0, len(need))
	defer func() {
		if err != nil {
			for _, m := range members {
				err = errors.Join(err, opened[m.header.Shard].Close())
			}
		}
	}()
	for _, shard := range need {
		path := g.Path(shard)
		f, err := open(path)
		if err != nil {
			return nil, &FileError{path, AdviseOpen(err)}
		}
		if err := g.checkHeader(shard, f.Header()); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		opened[shard] = f
		members = append(members, member{f.Header(), f.Styles()})
	}
	if err := g.checkAgreement(members); err != nil {
		return nil, err
	}
	// needed assumes a rule if it can read no header, as with too many open files.
	if len(members) > 0 && digits != AllDigits && !slices.Equal(need, selected(digits, members[0].header.Sharding)) {
		path := g.Path(need[0])
		return nil, &FileError{path, fmt.Errorf("%s: %w: its sharding rule, %s, selects other files than those that were opened", path, ErrDisagree, members[0].header.Rule)}
	}
	return opened, nil
}

// AdviseOpen adds to an error of the limit on open files which limit to raise.
func AdviseOpen(err error) error {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w; each shard needs an open file: raise the limit, ulimit -n", err)
	case errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%w; each shard needs an open file: raise the limit of the machine, sysctl fs.file-max", err)
	}
	return err
}

// check returns an *IncompleteError if g lacks a file that a server of these
// digits needs.
func (g Generation) check(digits Digits) error { return g.checkPresent(g.needed(digits)) }

func (g Generation) checkPresent(need []int) error {
	if missing := g.without(need); len(missing) > 0 {
		return &IncompleteError{g.ID, g.Shards, missing}
	}
	return nil
}

// checkHeader checks condition 4 for the file of a shard.
func (g Generation) checkHeader(shard int, h *format.Header) error {
	if err := (Name{g.ID, shard, g.Shards}).CheckHeader(h); err != nil {
		path := g.Path(shard)
		return &FileError{path, fmt.Errorf("%s: %w", path, err)}
	}
	return nil
}

// CheckHeader checks that the header of a file names the same generation and
// shard as the file name n. The error wraps ErrMisnamed.
func (n Name) CheckHeader(h *format.Header) error {
	if got := (Name{ID: ID(h.Generation), Shard: int(h.Shard), Shards: int(h.Shards)}); got != n {
		return fmt.Errorf("%w: it names %s", ErrMisnamed, got)
	}
	return nil
}

// A member holds the parts of a file that condition 6 is about.
type member struct {
	header *format.Header
	styles []format.TimestampStyle
}

// difference returns the field in which the files of m and o contradict each
// other, or "".
func (m member) difference(o member) string {
	switch {
	case m.header.Sharding != o.header.Sharding:
		return "sharding rule"
	case !slices.Equal(m.styles, o.styles):
		return "dictionary of timestamp styles"
	}
	return ""
}

// checkAgreement checks condition 6. The members have passed condition 4. The
// error is about the first file that contradicts the majority, and tells how many
// do.
func (g Generation) checkAgreement(members []member) error {
	// The vote of Boyer and Moore: a majority, if there is one, is left over after
	// all pairs that differ are removed.
	var common member
	votes := 0
	for _, m := range members {
		switch {
		case votes == 0:
			common, votes = m, 1
		case m.difference(common) == "":
			votes++
		default:
			votes--
		}
	}
	var first *FileError
	differing := 0
	for _, m := range members {
		field := m.difference(common)
		if field == "" {
			continue
		}
		if differing++; differing == 1 {
			path := g.Path(int(m.header.Shard))
			first = &FileError{path, fmt.Errorf("%s: %w: it has another %s than %s", path, ErrDisagree, field, filepath.Base(g.Path(int(common.header.Shard))))}
		}
	}
	switch differing {
	case 0:
		return nil
	case 1:
		return first
	}
	return &FileError{first.Path, fmt.Errorf("%w; %d files differ from that", first.Err, differing)}
}
