package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/fsx"
)

// Guards are the thresholds that a new generation must meet.
type Guards struct {
	AllowEmpty bool    // accept a generation without records
	MinRecords int64   // fewer records are refused
	MaxShrink  float64 // greatest loss of records against the live generation, in per cent; 0 or 100: no limit. With another value, a live generation that cannot be read refuses the new one

	// Greatest numbers of records that the live generation lacks, that only it
	// has, and that differ from it, in per cent of its records; 0: no limit. With
	// a limit, a live generation that cannot be read refuses the new one.
	MaxAdded, MaxRemoved, MaxChanged float64
}

// A GuardError reports a data set with fewer records than Guards.MinRecords or
// Guards.MaxShrink allows, or one that MaxShrink cannot judge.
type GuardError struct {
	Records     int64         // in the data set
	AtMost      bool          // Records includes duplicates: the build failed before the sort
	Min         int64         // fewest records allowed
	Live        generation.ID // the live generation, for MaxShrink; 0 for MinRecords
	LiveRecords int64         // in the live generation
	Cause       error         // why the live generation cannot be read; nil if it can, and for MinRecords
}

// Unwrap returns the cause.
func (e *GuardError) Unwrap() error { return e.Cause }

func (e *GuardError) Error() string {
	records := english.Count(e.Records, "record")
	shrink := fmt.Sprintf("%.1f %%", e.Shrink())
	if e.AtMost {
		records, shrink = "at most "+records, "at least "+shrink
	}
	if e.Cause != nil {
		return fmt.Sprintf("%s, which cannot be compared with the live generation: %v", records, e.Cause)
	}
	if e.Live == 0 {
		return fmt.Sprintf("%s, fewer than the minimum of %s", records, humanize.Comma(e.Min))
	}
	return fmt.Sprintf("%s, %s fewer than the %s of the live generation %s; the minimum is %s",
		records, shrink, humanize.Comma(e.LiveRecords), e.Live, humanize.Comma(e.Min))
}

// Shrink returns by how many per cent the data set is smaller than the live
// generation. It returns 0 if the guard is MinRecords.
func (e *GuardError) Shrink() float64 {
	if e.LiveRecords == 0 {
		return 0
	}
	return float64(e.LiveRecords-e.Records) / float64(e.LiveRecords) * 100
}

// MaxShrink returns the lowest Guards.MaxShrink, in tenths of a per cent, that
// allows the data set. It returns 0 if the guard is MinRecords.
func (e *GuardError) MaxShrink() float64 {
	if e.Cause != nil {
		return maxShrinkOff
	}
	if e.LiveRecords == 0 {
		return 0
	}
	return tenthsOf(e.LiveRecords-e.Records, e.LiveRecords)
}

// A Live names the generation that a data set is compared with.
type Live struct {
	ID      generation.ID
	Records int64
}

// LimitsShrink reports whether a limit needs the number of records of the live
// generation.
func (g *Guards) LimitsShrink() bool { return g.MaxShrink > 0 && g.MaxShrink < maxShrinkOff }

// CheckRecords returns a *GuardError if there are too few records. atMost means
// that some of them may be duplicates. CheckRecords calls live if MaxShrink is a
// limit; an error of live that wraps generation.ErrNoneServable means that there is
// no live generation.
func (g *Guards) CheckRecords(records int64, atMost bool, live func() (Live, error)) error {
	if records < g.MinRecords {
		return &GuardError{Records: records, AtMost: atMost, Min: g.MinRecords}
	}
	if !g.LimitsShrink() {
		return nil
	}
	l, err := live()
	if errors.Is(err, generation.ErrNoneServable) {
		return nil
	}
	if err != nil {
		return &GuardError{Records: records, AtMost: atMost, Cause: err}
	}
	min := l.Records - share(l.Records, g.MaxShrink)
	if records >= min {
		return nil
	}
	return &GuardError{Records: records, AtMost: atMost, Min: min, Live: l.ID, LiveRecords: l.Records}
}

// CheckEmpty returns an error that wraps ErrEmpty if there is no good row and
// AllowEmpty is not set. bad describes the bad rows of the inputs.
func (g *Guards) CheckEmpty(good int64, inputs []Input, bad *BadRowsError) error {
	switch {
	case good > 0 || g.AllowEmpty:
		return nil
	case bad.Cause != nil:
		return fmt.Errorf("%w: %s: %w", ErrEmpty, english.Count(bad.Count, "bad row"), bad.Cause)
	case bad.Count > 0:
		return fmt.Errorf("%w: %s\n  %s", ErrEmpty, english.Count(bad.Count, "bad row"), bad.Rows[0])
	case len(inputs) == 1:
		return fmt.Errorf("%s: %w", inputs[0].Name, ErrEmpty)
	}
	return ErrEmpty
}

// checkRecords is CheckRecords with the live generation of the directory.
func (b *build) checkRecords(records int64, atMost bool) error {
	return b.CheckRecords(records, atMost, func() (Live, error) {
		g, header, err := readLive(b.Dir)
		return Live{g.ID, int64(header.Records)}, err
	})
}

// maxShrinkOff is the Guards.MaxShrink that allows any number of records, also
// if the live generation cannot be read.
const maxShrinkOff = 100

// readLive returns the generation of dir that servers serve. Unlike
// generation.Checker.Live it returns an error if another one may be live: if the pin, or
// a file that comes before the first readable one, cannot be read or is damaged.
// Servers may have loaded such a file before. The error wraps
// generation.ErrNoneServable if there is no file that a server could have loaded.
func readLive(dir string) (generation.Generation, format.Header, error) {
	list, err := generation.List(dir)
	if err != nil {
		return generation.Generation{}, format.Header{}, err
	}
	pin, err := generation.ReadPin(dir)
	if err != nil {
		return generation.Generation{}, format.Header{}, err
	}
	for _, g := range pin.Candidates(list) {
		header, err := g.Header()
		switch {
		case err == nil:
			return g, header, nil
		case !neverServable(err):
			return generation.Generation{}, format.Header{}, err
		}
	}
	return generation.Generation{}, format.Header{}, generation.ErrNoneServable
}

// neverServable reports whether err, of generation.Generation.Header, shows that
// no server has ever served the generation, or that its file is gone.
func neverServable(err error) bool {
	for _, target := range []error{generation.ErrIncomplete, generation.ErrMisnamed, fsx.ErrNotRegular, fs.ErrNotExist} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// A SpaceError reports a file system with less free space than a build needs. It
// wraps syscall.ENOSPC, like the error of a disk that becomes full during a
// write.
type SpaceError struct {
	Dir        string
	Need, Free int64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s: %s needed, %s free: %v", e.Dir, humanize.IBytes(uint64(e.Need)), humanize.IBytes(uint64(e.Free)), syscall.ENOSPC)
}

// Unwrap returns syscall.ENOSPC.
func (e *SpaceError) Unwrap() error { return syscall.ENOSPC }

// maxRowLen is longer, in bytes, than the average row of a complete data set.
const maxRowLen = 128

// checkInputSpace checks the space for the generation, and for the spill of
// records that exceed the memory, before the input is read. The estimate from the
// size of the inputs is low: it is exact for plain rows of maxRowLen bytes, and 0
// if the size is unknown.
func (b *build) checkInputSpace() error {
	records := b.progress.status.InputSize / maxRowLen
	spill := records * format.RecordLen
	if spill <= b.Memory {
		spill = 0
	}
	return b.checkRecordSpace(spill, records)
}

// checkRecordSpace checks the space for a run of spill bytes and a generation of
// this number of records. Duplicates count as records.
func (b *build) checkRecordSpace(spill, records int64) error {
	// A shard that has few records takes a header and a block of the disk.
	const perShard = format.HeaderLen + format.BlockLen
	shards := int64(b.Sharding.Shards-1) * perShard
	file := fileLen(records)
	switch {
	case spill == 0 && b.sorter.SpilledBytes() == 0:
		return CheckSpace(b.Dir, file+shards)
	case sameDisk(b.Dir, b.TempDir):
		// The merge releases the space of merged records: the spill and the files
		// together take 1.2 times the files.
		return CheckSpace(b.Dir, spill+file/5+shards)
	}
	if err := CheckSpace(b.TempDir, spill); err != nil {
		return err
	}
	return CheckSpace(b.Dir, file+shards)
}

// fileLen returns the approximate length of a file of this number of records.
func fileLen(records int64) int64 {
	const perBlock = format.BlockLen + format.KeyLen + format.ChecksumLen
	return (records + format.RecordsPerBlock - 1) / format.RecordsPerBlock * perBlock
}

// CheckSpace returns a *SpaceError if dir has fewer than need bytes free.
func CheckSpace(dir string, need int64) error {
	free, err := fsx.Free(dir)
	if err != nil {
		return err
	}
	if free < need {
		return &SpaceError{Dir: dir, Need: need, Free: free}
	}
	return nil
}

func sameDisk(a, b string) bool {
	var sta, stb unix.Stat_t
	return unix.Stat(a, &sta) == nil && unix.Stat(b, &stb) == nil && sta.Dev == stb.Dev
}
