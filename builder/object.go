package builder

import (
	"errors"

	"promostore/internal/objects"
)

// ObjectInput returns an Input that reads the object of s that o describes. If
// another object has the same key when the build reads it, Build returns a
// *ChangedError.
func ObjectInput(s objects.Store, o objects.Object) Input {
	// A build reads several objects at the same time, like compressed files,
	// because one connection is slower than parsing. Finding out how each is
	// compressed would take a request for each, so the memory is that of zstd.
	return Input{Name: s.URL(o.Key), Size: o.Size, memory: zstdMemory, object: &object{s, o, 0, o.Size}}
}

// An object is an object of a store as it was before the build, or a range of it.
type object struct {
	store objects.Store
	objects.Object
	from, to int64 // see RangeInput
}

// explain returns a *ChangedError if err means that the object has changed, and
// otherwise err.
func (o *object) explain(err error) error {
	if errors.Is(err, objects.ErrChanged) {
		return &ChangedError{Name: o.store.URL(o.Key), ETag: o.ETag}
	}
	return err
}

// objectParts are the parts of an open object that are requested at the same
// time. The zero value is for builds that read no object.
type objectParts struct {
	num int
	len int // bytes
}

const (
	// maxParts is the number of parts that are requested at the same time, in all
	// open objects together. Each object has two at least, so that the next one
	// arrives while one is decompressed.
	maxParts = 8
	minParts = 2

	// maxPartLen is the length of a part in bytes. At 50 to 100 MB a second and
	// connection, a part takes longer than the 30 ms until its first byte.
	maxPartLen = 4 << 20
)

// partLen returns the length of a part for a build with this memory. The parts of
// one open object take an eighth of it at most.
func partLen(memory int64) int { return int(min(maxPartLen, memory/(8*maxParts*2))) }

// memory returns the memory of the parts in bytes: twice their buffers, because
// those of another object may not be collected yet.
func (p objectParts) memory() int64 { return 2 * int64(p.num) * int64(p.len) }
