// Package reader opens generation files, looks up promotions in them, and
// moves a server from one generation to the next.
//
// A File is one open generation file. A lookup goes through four steps: Get
// asks the model of package learned for the position of the key, searches a
// window of records there, and corrects the window or falls back to the fences
// if the key is outside. A mapping or, for files larger than memory, one read
// supplies the records.
//
// A Store serves a directory of generations, of which one is live: the pinned
// one, or the newest good one. Poll opens and verifies a new generation and
// makes it live; requests hold a lease on the generation they began with, and
// its file is closed after the last of them. Acquire and Release take no lock.
//
// Opening a file checks everything but its blocks; Verify checks those. A
// lookup in a damaged block that was not verified returns an error or "not
// found"; it does not panic. A file that is truncated while it is mapped makes
// lookups return ErrFault; it does not kill the process.
package reader
