package builder

import (
	"fmt"
	"syscall"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/fsx"
)

// A SpaceError says that a disk has less room than a build needs. It is a
// syscall.ENOSPC, as is what comes of a disk that fills while it is written to.
type SpaceError struct {
	Dir        string
	Need, Free int64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s: %s are needed and %s free: %v", e.Dir, humanize.IBytes(uint64(e.Need)), humanize.IBytes(uint64(e.Free)), syscall.ENOSPC)
}

func (e *SpaceError) Unwrap() error { return syscall.ENOSPC }

// maxRowLen is more bytes than a row of a whole table has on average.
const maxRowLen = 128

// checkInputRoom is an error if there is no room for what the inputs are going
// to be, as far as their sizes tell: rows that are shorter, or compressed, are
// more than it reckons with.
func (b *build) checkInputRoom() error {
	return checkRoom(b.Dir, fileLen(b.status.InputSize/maxRowLen))
}

// checkRecordRoom is an error if there is no room for spill more bytes and for
// the file of so many records, spilled or not. Ids that come twice take less.
func (b *build) checkRecordRoom(spill, records int64) error {
	file := fileLen(records)
	switch {
	case spill == 0 && b.spill == nil:
		return checkRoom(b.Dir, file)
	case sameDisk(b.Dir, b.TempDir):
		// The merge gives back what it has read: both take 1.2 times the file.
		return checkRoom(b.Dir, spill+file/5)
	}
	if err := checkRoom(b.TempDir, spill); err != nil {
		return err
	}
	return checkRoom(b.Dir, file)
}

// fileLen is about how long the file of so many records is.
func fileLen(records int64) int64 {
	const perBlock = format.BlockLen + format.KeyLen + format.ChecksumLen
	return (records + format.RecordsPerBlock - 1) / format.RecordsPerBlock * perBlock
}

// checkRoom is an error if dir has not need bytes free.
func checkRoom(dir string, need int64) error {
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
