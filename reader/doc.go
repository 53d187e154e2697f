// Package reader opens generation files, looks up promotions in them, and
// moves a server from one generation to the next.
//
// A File is one open generation file. In a verified mapping, Get predicts the
// rank of the key with the model of package learned, searches windows around it,
// and falls back to the fences. In every other file it goes to the fences at
// once. A mapping or, for files larger than memory, one read supplies the
// records.
//
// A Generation holds the open files of a generation, one for each shard that the
// server owns. An id has one file that can hold its record.
//
// A Store serves a directory of generations, of which one is live: the pinned
// one, or the newest servable one. Poll opens and verifies a new Generation and
// makes it live; requests hold a lease on the generation they began with, and
// its files are closed after the last of them. Acquire and Release take no lock.
// While the pin holds the newest generation back, a goroutine opens and verifies
// it, so that it becomes live at once when the pin moves.
//
// Opening a file checks everything but its blocks; Verify checks those. A
// lookup in a damaged block that was not verified returns an error or "not
// found"; it does not panic. A file that is truncated while it is mapped makes
// lookups return ErrFault; it does not kill the process. After a file was
// overwritten in place, lookups of ids that are not found return ErrChanged.
package reader
