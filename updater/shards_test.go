package updater_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promostore/format"
	"promostore/updater"
)

// Uploads and files of the inbox become sharded generations, which are pruned as a
// whole. The command after publishing learns the number of files.
func TestUpdaterBuildsShards(t *testing.T) {
	inbox, out := filepath.Join(t.TempDir(), "inbox"), filepath.Join(t.TempDir(), "out")
	f := start(t, func(o *updater.Options) {
		withInbox(inbox)(o)
		o.Keep = 2
		o.Build.Sharding = format.Sharding{Rule: format.ShardLast, Shards: 16}
		o.Build.MaxRemoved = 50
		o.Hook = fmt.Sprintf(`echo "$PROMO_SHARDS $(ls "$PROMO_DATA"/promotions-"$PROMO_GENERATION"-*.pgen | wc -l)" >>'%s'`, out)
	})
	a := f.post(t, strings.NewReader(dataSet(t, 30)))
	a.want(t, http.StatusCreated, "")
	if a.object["shards"] != 16. || a.object["shard_by"] != "last" {
		t.Errorf("answer %s", a)
	}
	f.hook(t, 0) // before the next build prunes
	f.post(t, strings.NewReader(dataSet(t, 10))).want(t, http.StatusUnprocessableEntity, "refused")
	for i, name := range []string{"a.csv", "b.csv"} {
		f.put(t, name, dataSet(t, int64(40+i)))
		await(t, "end of the build", func() bool { return len(files(t, filepath.Join(inbox, "done"))) == i+1 })
		f.hook(t, 0)
	}
	f.wantGenerations(t, 40, 41)
	if text, err := os.ReadFile(out); err != nil || string(text) != strings.Repeat("16 16\n", 3) {
		t.Errorf("the commands wrote %q, %v", text, err)
	}
	if b := f.builds(t)[0]["summary"].(map[string]any); b["largest_shard"] == nil {
		t.Errorf("summary %v", b)
	}
}

// Uneven shards are a warning in the log.
func TestUpdaterWarnsOfUnevenShards(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Build.Sharding = format.Sharding{Rule: format.ShardFirst, Shards: 16} })
	var rows strings.Builder
	for i := range 1001 {
		fmt.Fprintf(&rows, "f0000000-0000-0000-0000-%012x,1,2022-06-04 06:01:20\n", i)
	}
	f.post(t, strings.NewReader(rows.String())).want(t, http.StatusCreated, "")
	f.stop(t)
	if !strings.Contains(f.log.String(), `level=WARN msg="uneven shards; the sharding rule last may divide the ids more evenly"`) ||
		!strings.Contains(f.log.String(), "shard_by=first shard=15 shard_records=1001 mean_records=62") {
		t.Errorf("the log has no warning: %s", f.log)
	}
}
