// Package extsort sorts records by key in bounded memory and keeps one record
// of each key.
//
// Goroutines add numbered chunks of records, in one lane or several. Each record
// is copied once, into one of 1024 buckets according to the top bits of its key.
// If all records fit into memory, the buckets are sorted one by one and passed to
// a Sink. If they do not, the full memory is sorted and spilled to a temporary
// file as a sorted run, as often as necessary; at the end the runs are merged, one
// range of keys after the other. This is the external sort of Knuth, "The Art of Computer
// Programming", vol. 3, section 5.4, with a different merge; see merge.go.
//
// Every byte is written at most twice, for any order and distribution of the
// keys. The disk space of merged records is released during the merge: without
// duplicates, the spill and the output together never take more than 1.2 times
// the output.
//
// The order of the input is that of the lanes and, within a lane, that of the
// numbers of the chunks. Records of one lane enter the buckets in their order, and
// the sort is stable. Records of different lanes enter in any order. Each record
// holds the number of its lane, in bits that are zero in a file; of two records
// with the same key, the one of the higher lane is the later one. So lanes need
// neither buckets nor runs of their own.
//
// The output depends only on the records and their order in the input, not on the
// memory or the number of goroutines.
//
// The records of a sharded generation are passed shard by shard; see shards.go.
// Generation files can be merged like the runs of a spill; see file.go.
//
// All records live in one anonymous mapping whose size is fixed at the start.
// The Go heap holds only page tables, samples and counters.
package extsort

import (
	"context"
	"errors"

	"promostore/format"
	"promostore/internal/sequencer"
)

// ErrMemory means that the memory is too small for the input. Budget 64 MiB per
// 300 M records.
var ErrMemory = errors.New("memory budget too small")

// maxCached is the size of the output, in bytes, from which it is written past
// the page cache even if its records fit into memory. Above that size the
// kernel has to write the cache back while it fills. Past the cache, 20 M
// records take 1.1 times as long, 40 M 0.85 times, 100 M 0.3 to 0.8 times.
const maxCached = 1 << 30

// MaxLanes is the most lanes that a Sorter can have.
const MaxLanes = format.MaxTags

// numDirect is the number of buffers for direct writes.
const numDirect = 4

// Sizes divides the memory of a Sorter.
type Sizes struct {
	Arena  int64 // bytes for records; of a merge of files, also for samples and checksums
	Page   uint  // a page of the arena has 1<<Page records
	Leaf   int   // records that a goroutine sorts at once
	Direct int   // bytes of each of the 4 buffers for direct writes: a multiple of 4096
	Cached int   // largest output written through the page cache, in records; of a merge of files, also the largest input read through it
}

// SizesFor divides memory bytes for this number of workers. The caller uses
// reserved bytes of the memory itself.
func SizesFor(memory int64, workers int, reserved int64) Sizes {
	s := MergeSizes(memory, reserved)
	s.Leaf = 1 << 15 // both halves of a leaf sort stay in the second-level cache
	s.Arena -= int64(writers(workers) * 2 * s.Leaf * format.RecordLen)
	return s
}

// MergeSizes divides memory bytes for a merge of files, which sorts no leaves. The
// caller uses reserved bytes of the memory itself.
func MergeSizes(memory, reserved int64) Sizes {
	s := Sizes{
		Page:   8,
		Direct: int(min(memory>>7, 4<<20)) &^ (directLen - 1), // the disk writes 4 MiB at once 1.5 times as fast as 1 MiB
		Cached: maxCached / format.RecordLen,
	}
	s.Arena = memory - reserved - int64(numDirect*s.Direct)
	return s
}

// writers returns the number of goroutines that sort or merge records and write
// them: twice the workers, because a goroutine that waits for the disk leaves
// its processor to another.
func writers(workers int) int { return 2 * workers }

// Config configures a Sorter.
type Config struct {
	Sizes       Sizes
	Workers     int             // goroutines that split buckets; twice as many sort, merge and write
	Lanes       int             // of chunks, at most MaxLanes; 0: one
	Dir         string          // for the spill
	KeepFirst   bool            // keep the first record of each key, not the last
	Sharding    format.Sharding // the zero value: unsharded
	MaxRepeated int             // repeated keys that Duplicates returns

	// BeforeSpill, if not nil, is called before a run is spilled, with the size
	// of the run in bytes and the number of all spilled records, this run
	// included. An error ends the sort.
	BeforeSpill func(bytes, records int64) error
}

// A Sink takes the sorted records, batch by batch: the shards in the order of their
// numbers, and the records of a shard in that of their keys. A batch may have
// records of several shards.
type Sink interface {
	// Prepare may change the records, except for their keys. Calls for
	// different batches may overlap.
	Prepare(records []format.Record)

	// Reserve assigns a batch its place in the output. It is called in the
	// order of the batches, and calls do not overlap. The returned function writes
	// the batch; it is called once, at the same time as others. The records are
	// valid until it returns.
	Reserve(records []format.Record) (write func() error, err error)
}

// A Sorter sorts one set of records: New, then Add for each chunk, then Finish,
// then Emit, then Close.
type Sorter struct {
	cfg      Config
	arena    *arena
	spare    int  // pages that splits may need
	rotation uint // bits by which keys are rotated while they are sorted
	dedup    deduper
	intake   intake
	spill    *spill // nil before the first spilled run; guarded by intake until Finish
	runs     []*run // of the spill or of files; guarded by intake until Finish
}

// New returns a Sorter. It maps the memory, and removes from cfg.Dir the spills
// that killed processes left.
func New(cfg Config) (*Sorter, error) {
	if cfg.Sharding == (format.Sharding{}) {
		cfg.Sharding = format.Unsharded
	}
	sweepSpills(cfg.Dir)
	a, err := newArena(cfg.Sizes, writers(cfg.Workers))
	if err != nil {
		return nil, err
	}
	s := &Sorter{
		cfg:      cfg,
		arena:    a,
		spare:    len(a.fill) / 8, // twice the need of splitter.split
		rotation: rotationOf(cfg.Sharding),
		dedup:    newDeduper(cfg),
	}
	for range max(1, cfg.Lanes) {
		s.intake.lanes = append(s.intake.lanes, sequencer.New())
	}
	s.intake.buckets.clear()
	return s, nil
}

// Close unmaps the memory and removes the spill. No call of another method may
// be running.
func (s *Sorter) Close() error {
	var err error
	if s.spill != nil {
		err = s.spill.close()
	}
	return errors.Join(err, s.arena.close())
}

// Finish ends the input, after the last Add has returned. If a part of the
// records was spilled, it spills the rest and waits until all of them are
// written. It returns the most records that Emit can pass to its sink;
// duplicates in different runs are not removed yet.
func (s *Sorter) Finish(ctx context.Context) (records int64, err error) {
	if s.spill != nil {
		if err := s.spillBuckets(ctx); err != nil {
			return 0, err
		}
		if err := s.spill.flush(); err != nil {
			return 0, err
		}
	}
	return s.records(), nil
}

// records returns the number of records in the buckets and in the runs.
func (s *Sorter) records() int64 { return int64(s.intake.records) + total(s.runs) }

// Emit passes all records to out, once, after Finish. When it returns, the Sorter
// has released all memory except for the WriteBuffers.
func (s *Sorter) Emit(ctx context.Context, out Sink) error {
	if len(s.intake.lanes) > 1 {
		out = untagged{out}
	}
	if s.rotation > 0 {
		out = rotated{out, s.rotation}
	}
	defer s.arena.discard()
	if len(s.runs) == 0 {
		return s.sort(ctx, s.intake.buckets[:], out)
	}
	return s.merge(ctx, out)
}

// An untagged is a Sink that removes the lanes from the records.
type untagged struct{ Sink }

func (u untagged) Prepare(records []format.Record) {
	for i := range records {
		records[i].SetTag(0)
	}
	u.Sink.Prepare(records)
}

// WriteBuffers returns the buffers for all DirectWriters of the output, once, after
// Finish. It returns nil if the output is small enough to be written through the
// page cache.
func (s *Sorter) WriteBuffers() WriteBuffers {
	if s.isCached() {
		return nil
	}
	return newWriteBuffers(s.arena.direct)
}

// isCached reports whether files are read and written through the page cache.
func (s *Sorter) isCached() bool {
	return s.spill == nil && s.records() <= int64(s.cfg.Sizes.Cached)
}

// SpilledBytes returns the size of the spill. It may be called after Finish and
// by Config.BeforeSpill.
func (s *Sorter) SpilledBytes() int64 {
	if s.spill == nil {
		return 0
	}
	return s.spill.size
}

// Duplicates returns how many records of each shard were removed because another
// record has the same key, and the lowest repeated keys of all shards, in order. It
// may be called after Emit.
func (s *Sorter) Duplicates() (counts []int64, keys []format.Key) {
	return s.dedup.counts, s.dedup.keys
}
