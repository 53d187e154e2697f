package tasks

import (
	"path"

	"promostore/builder"
	"promostore/format"
)

// Needs estimates the memory and the disk of one task, in bytes.
type Needs struct {
	Memory    int64 // of the process with the least Options.Memory
	SplitDisk int64 // in Options.TempDir, of the largest split
	MergeDisk int64 // in Options.TempDir, of a shard
}

const (
	processMemory = 64 << 20 // of a build besides Options.Memory

	// Bytes of a row: docs/benchmarks.md has 77.9, and 38 with gzip -1. Estimates
	// of the disk are high if rows are longer.
	plainRow      = 60
	compressedRow = 32

	// diskRecord is the disk of a record in bytes: the sort takes 1.2 times its
	// file.
	diskRecord = format.RecordLen * 6 / 5

	// diskShard is the disk in bytes of a run with few records.
	diskShard = format.HeaderLen + format.BlockLen
)

// Needs estimates the needs of the tasks of p. Rows that are shorter than usual, or
// uneven shards, need more disk.
func (p *Plan) Needs() Needs {
	var n Needs
	var total int64
	for _, ranges := range p.Splits {
		var rows int64
		for _, r := range ranges {
			row := int64(plainRow)
			if ext := path.Ext(p.Inputs[r.Input].URL); ext == ".gz" || ext == ".zst" {
				row = compressedRow
			}
			rows += (r.To - r.From) / row
		}
		total += rows
		n.SplitDisk = max(n.SplitDisk, rows*diskRecord+int64(p.Shards)*diskShard)
	}
	n.Memory = builder.MergeMemory(len(p.Splits), total/int64(p.Shards)) + processMemory
	n.MergeDisk = 2*total/int64(p.Shards)*format.RecordLen + int64(len(p.Splits))*diskShard // the runs and the file
	return n
}
