// Package generation manages a directory of generation files: their names,
// publishing and pruning, the pin, and which generation to serve.
//
// A file gets its final name when it is complete and durable, and is never
// written again. Names determine the order of generations; file times do not. A
// name does not promise good content, because files also arrive in other ways,
// for example by rsync.
//
// # Servable generations
//
// A generation is servable if
//
//  1. the files of all its shards are there,
//  2. they are regular files,
//  3. their indexes are good: everything except the blocks, see format.Open,
//  4. their headers name the same generation and shard as the file names,
//  5. every block is good, see format.Index.Verify, and
//  6. the files agree: they have the same sharding rule and the same dictionary
//     of timestamp styles.
//
// An unsharded generation is a set of one file. For a server of some Digits, the
// conditions apply to the files of the shards that these digits select; it
// neither needs nor opens the others.
//
// To check conditions 1 to 4 and 6, a program reads 20 bytes for each block of
// 4 KiB; to check condition 5, it reads the whole files. Open checks conditions 1,
// 4 and 6, and Header all but 5. Verify checks all of them, and a Checker
// remembers the results. Package reader adds a live Store.
//
// Servers and commands require all conditions, unless their --verify is "index":
// then they require all but 5, like the updater and Checker.Live. Live defines
// which of several servable generations is served.
//
// # Publishing
//
// A Writer publishes all files of a generation or none. While it renames the files
// of several shards, a marker in the directory hides the incomplete set from List.
// If the process is killed, the next OpenWriter removes the files, unless all of
// them have their names.
package generation

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"promostore/format"
)

// An ID identifies a generation by its time of creation: milliseconds since 1970
// UTC, from 0 to format.MaxGeneration.
type ID int64

const (
	idLayout = "20060102T150405"
	idLen    = len(idLayout) + len("000Z")
	maxID    = ID(format.MaxGeneration)
)

// ErrName reports that a text is not a generation ID or not the file name of a
// generation.
var ErrName = errors.New("not a generation")

// IDOf returns the ID of a generation created at t.
func IDOf(t time.Time) ID { return ID(t.UnixMilli()) }

// Time returns the time of id, in UTC.
func (id ID) Time() time.Time { return time.UnixMilli(int64(id)).UTC() }

// MaxAhead is how far the ID of a generation may be ahead of the clock. A later
// one is from the future: the clock that named it was wrong.
const MaxAhead = time.Hour

// IsFuture reports whether id is more than MaxAhead after now.
func (id ID) IsFuture(now time.Time) bool { return id > IDOf(now.Add(MaxAhead)) }

// Ahead returns how far id is ahead of now; 0 if it is not.
func (id ID) Ahead(now time.Time) time.Duration { return max(0, id.Time().Sub(now)) }

// Age returns the time from id to now; 0 if id is ahead of now.
func (id ID) Age(now time.Time) time.Duration { return max(0, now.Sub(id.Time())) }

// Before reports whether servers prefer other to id at the time now. Generations
// from the future come before all others, so that new generations become live
// although they have lower IDs. Generations of the same kind are ordered by ID.
func (id ID) Before(other ID, now time.Time) bool {
	if future := id.IsFuture(now); future != other.IsFuture(now) {
		return future
	}
	return id < other
}

// String returns id in the form of file names: 20261122T103000123Z. These texts
// sort like the IDs.
func (id ID) String() string {
	return id.Time().Format(idLayout) + fmt.Sprintf("%03dZ", id.Time().UnixMilli()%1000)
}

// ParseID parses the result of String and rejects everything else.
func ParseID(s string) (ID, error) {
	if len(s) == idLen {
		t, err := time.Parse(idLayout, s[:len(idLayout)])
		ms, ok := decimal(s[len(idLayout) : idLen-1])
		if id := IDOf(t) + ID(ms); err == nil && ok && id >= 0 && id.String() == s {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%q is %w ID, a UTC time such as 20261122T103000123Z", s, ErrName)
}

// A Name identifies one file of a generation.
type Name struct {
	ID     ID
	Shard  int // counted from 0
	Shards int // 1 to 99999
}

const (
	prefix = "promotions-"
	suffix = ".pgen"

	shardAt  = len(prefix) + idLen + len("-")
	shardsAt = shardAt + 5 + len("-of-")
	nameLen  = shardsAt + 5 + len(suffix)
)

// String returns the file name.
func (n Name) String() string {
	return fmt.Sprintf("%s%s-%05d-of-%05d%s", prefix, n.ID, n.Shard, n.Shards, suffix)
}

// ParseName parses the result of String and rejects everything else.
func ParseName(s string) (Name, error) {
	if n, ok := new(nameParser).parse(s); ok {
		return n, nil
	}
	return Name{}, fmt.Errorf("%w: file name %q", ErrName, s)
}

// A nameParser parses file names. It parses the ID again only if it differs from
// that of the preceding name, because the files of a generation may be thousands.
type nameParser struct {
	text string // of the last ID
	id   ID
}

func (p *nameParser) parse(s string) (Name, bool) {
	if len(s) != nameLen || s[:len(prefix)] != prefix || s[shardAt-1] != '-' || s[shardAt+5:shardsAt] != "-of-" || s[shardsAt+5:] != suffix {
		return Name{}, false
	}
	shard, ok1 := decimal(s[shardAt : shardAt+5])
	shards, ok2 := decimal(s[shardsAt : shardsAt+5])
	if !ok1 || !ok2 || shard >= shards {
		return Name{}, false
	}
	if text := s[len(prefix) : shardAt-1]; text != p.text {
		id, err := ParseID(text)
		if err != nil {
			return Name{}, false
		}
		p.text, p.id = text, id
	}
	return Name{p.id, shard, shards}, true
}

func decimal(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil
}
