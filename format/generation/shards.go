package generation

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"promostore/format"
	"promostore/internal/fsx"
)

// A Generation holds the files of one generation in a directory.
type Generation struct {
	ID     ID
	Shards int      // number of files of the complete generation
	Files  []string // paths of the present files, by shard
}

// Complete reports whether every file of g is present.
func (g Generation) Complete() bool { return len(g.Files) == g.Shards }

// Path returns the path of the file of a shard, or "" if it is missing.
func (g Generation) Path(shard int) string {
	if g.Complete() {
		return g.Files[shard]
	}
	i, found := slices.BinarySearchFunc(g.Files, shard, func(path string, shard int) int {
		return cmp.Compare(shardIn(path), shard)
	})
	if !found {
		return ""
	}
	return g.Files[i]
}

// MissingOf returns the numbers of the missing shards that a server of these
// digits needs. If some are missing, it reads a header to learn the sharding
// rule; without one it assumes format.ShardLast.
func (g Generation) MissingOf(digits Digits) []int {
	if g.Complete() {
		return nil
	}
	return g.without(g.needed(digits))
}

// without returns those of the shards whose files are missing.
func (g Generation) without(shards []int) (missing []int) {
	for _, shard := range shards {
		if g.Path(shard) == "" {
			missing = append(missing, shard)
		}
	}
	return missing
}

// needed returns the numbers of the shards that a server of these digits needs.
func (g Generation) needed(digits Digits) (shards []int) {
	s := format.Sharding{Rule: format.ShardLast, Shards: uint32(g.Shards)}
	if !s.Valid() { // one file, or a number of files that no generation has
		digits = AllDigits
	}
	if digits != AllDigits {
		s.Rule = g.rule(digits)
	}
	return selected(digits, s)
}

// selected returns the numbers of the shards that digits select.
func selected(digits Digits, s format.Sharding) (shards []int) {
	for shard := range int(s.Shards) {
		if digits == AllDigits || digits.Owns(s, uint32(shard)) {
			shards = append(shards, shard)
		}
	}
	return shards
}

// rule returns the sharding rule in the first good header of the files that
// digits select according to it. Other files may be bad or of another generation.
func (g Generation) rule(digits Digits) format.ShardRule {
	for _, path := range g.Files {
		h, err := readHeader(path)
		if err == nil && (Name{g.ID, shardIn(path), g.Shards}).CheckHeader(&h) == nil && digits.Owns(h.Sharding, h.Shard) {
			return h.Rule
		}
	}
	return format.ShardLast
}

func readHeader(path string) (format.Header, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return format.Header{}, err
	}
	defer f.Close()
	return format.ReadHeader(f)
}

// shardIn returns the shard in the path of a file that List returned, or -1.
func shardIn(path string) int {
	base := filepath.Base(path)
	if len(base) != nameLen {
		return -1
	}
	shard, ok := decimal(base[shardAt : shardAt+5])
	if !ok {
		return -1
	}
	return shard
}

// ShardRanges returns ascending numbers of shards as text: 0-3, 7, 9. It shortens
// long lists.
func ShardRanges(shards []int) string {
	const maxRanges = 8
	var b strings.Builder
	for n := 0; len(shards) > 0; n++ {
		if n > 0 {
			b.WriteString(", ")
		}
		if n == maxRanges {
			b.WriteString("…")
			break
		}
		lo, last := shards[0], 0
		for last+1 < len(shards) && shards[last+1] == shards[last]+1 {
			last++
		}
		fmt.Fprint(&b, lo)
		if last > 0 {
			fmt.Fprintf(&b, "-%d", shards[last])
		}
		shards = shards[last+1:]
	}
	return b.String()
}
