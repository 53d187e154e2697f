package fsx

import (
	"io/fs"
	"syscall"
	"time"
)

// Identity distinguishes a file from its replacement, and from itself after a
// repair. Size and ModTime alone do not: rsync -t gives a repaired file its old
// size and time, and a file system may reuse the inode of a removed file. No
// program can set the change time. The zero value equals no file.
type Identity struct {
	Size    int64
	ModTime time.Time

	device, inode uint64
	changed       syscall.Timespec
}

// IdentityOf returns the identity of the file that info describes.
func IdentityOf(info fs.FileInfo) Identity {
	id := Identity{Size: info.Size(), ModTime: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		id.device, id.inode, id.changed = sys.Dev, sys.Ino, sys.Ctim
	}
	return id
}

// Equal reports whether a and b describe the same unchanged file. A rename, a
// new link or a chmod counts as a change.
func (a Identity) Equal(b Identity) bool {
	return a.SameContent(b) && a.device == b.device && a.inode == b.inode && a.changed == b.changed
}

// SameContent reports whether a and b, which describe one open file at two
// times, have the same size and modification time. It ignores the change time,
// which a new link or a chmod updates.
func (a Identity) SameContent(b Identity) bool {
	return a.Size == b.Size && a.ModTime.Equal(b.ModTime)
}

// SameFile reports whether a and b describe the same file, changed or not. A file
// system may give the inode of a removed file to another one.
func (a Identity) SameFile(b Identity) bool { return a.device == b.device && a.inode == b.inode }
