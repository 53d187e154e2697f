package generation_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
)

// TestStatusOfSets checks the status while a sharded generation arrives, and when
// one of its files is bad.
func TestStatusOfSets(t *testing.T) {
	dir := t.TempDir()
	var c generation.Checker
	if err := statusOf(&c, dir).Problem(); !errors.Is(err, generation.ErrEmpty) {
		t.Errorf("empty directory: %v", err)
	}
	paths := gentest.PublishSharded(t, dir, 2, sixteen, gentest.Sequence(40))
	away := paths[3] + ".away"
	gentest.Must(t, os.Rename(paths[3], away))
	st := statusOf(&c, dir)
	if err := st.Problem(); st.Live != nil || !errors.Is(err, generation.ErrNoneServable) || !errors.Is(err, generation.ErrIncomplete) || !strings.HasSuffix(err.Error(), "missing 1 of 16 shards: 3") {
		t.Errorf("only an incomplete generation: %v", err)
	}
	gentest.Publish(t, dir, 1, gentest.Sequence(7))
	st = statusOf(&c, dir)
	if st.Live == nil || st.Live.Records != 7 || *st.Newest != 2 || st.Shards != 16 || !slices.Equal(st.Missing, []int{3}) || len(st.Refused) != 0 {
		t.Errorf("incomplete: %+v", st)
	}
	// A server of the digits 4 to f does not need shard 3.
	list, err := generation.List(dir)
	gentest.Must(t, err)
	st.SetList(list, generation.AllDigits&^0xF)
	if st.Shards != 16 || len(st.Missing) != 0 {
		t.Errorf("missing for the digits 4-f: %v", st.Missing)
	}

	gentest.Must(t, os.Rename(away, paths[3]))
	st = statusOf(&c, dir)
	if st.Live == nil || st.Live.Records != 40 || st.Live.Sharding != sixteen || len(st.Missing) != 0 {
		t.Errorf("complete: %+v", st)
	}
	gentest.Overwrite(t, paths[9], 0, []byte("X"))
	st = statusOf(&c, dir)
	if st.Live == nil || st.Live.Records != 7 || len(st.Refused) != 1 || st.Refused[0].Path != paths[9] || !errors.Is(st.Refused[0].Err, format.ErrFormat) {
		t.Errorf("bad file: %+v", st)
	}
	gentest.Must(t, os.Remove(gentest.Path(dir, 1)))
	if err := statusOf(&c, dir).Problem(); !errors.Is(err, generation.ErrNoneServable) || !strings.Contains(err.Error(), generation.ID(2).String()) || strings.Contains(err.Error(), dir) {
		t.Errorf("only a bad generation: %v", err)
	}
}

func statusOf(c *generation.Checker, dir string) *generation.Status {
	st := c.Status(dir)
	return &st
}
