package updater_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"promostore/builder"
	"promostore/updater"
)

// The numbers of every comparison with the live generation are in the answer, in
// /status, in the metrics and in the log, whether the data set is refused or not.
func TestComparisonIsReported(t *testing.T) {
	f := start(t, func(o *updater.Options) {
		o.Build.MaxRemoved = 50
		o.Hint = func(err error) updater.Hint {
			if errors.As(err, new(*builder.ContentError)) {
				return updater.Hint{Flag: "--max-removed"}
			}
			return updater.Hint{}
		}
	})
	f.post(t, strings.NewReader(dataSet(t, 10))).want(t, http.StatusCreated, "")
	if strings.Contains(f.metrics(t), "promobuild_last_comparison_records") || f.builds(t)[0]["comparison"] != nil {
		t.Error("the first data set is compared")
	}
	for _, c := range []struct {
		rows   int64
		code   int
		reason string
		want   map[string]any
	}{
		{4, http.StatusUnprocessableEntity, "refused", map[string]any{"live_records": 10., "added": 0., "removed": 6., "changed": 0., "unchanged": 4.}},
		{12, http.StatusCreated, "", map[string]any{"live_records": 10., "added": 2., "removed": 0., "changed": 0., "unchanged": 10.}},
	} {
		live, _ := f.get(t, "/status").object["live"].(string)
		c.want["live"] = live
		a := f.post(t, strings.NewReader(dataSet(t, c.rows)))
		a.want(t, c.code, c.reason)
		if !reflect.DeepEqual(a.object["comparison"], any(c.want)) {
			t.Errorf("%d rows: answer %s, want the comparison %v", c.rows, a, c.want)
		}
		if c.code != http.StatusCreated && a.object["flag"] != "--max-removed" {
			t.Errorf("%d rows: answer %s without the flag", c.rows, a)
		}
		if got := f.builds(t)[0]["comparison"]; !reflect.DeepEqual(got, any(c.want)) {
			t.Errorf("%d rows: /status has %v, want %v", c.rows, got, c.want)
		}
		for _, change := range []string{"added", "removed", "changed", "unchanged"} {
			if got, want := f.metric(t, `promobuild_last_comparison_records{change="`+change+`"}`), fmt.Sprint(c.want[change]); got != want {
				t.Errorf("%d rows: metric of %s %s, want %s", c.rows, change, got, want)
			}
		}
	}
	f.wantGenerations(t, 10, 12)
	f.stop(t)
	for _, want := range []string{
		"result=refused", "added=0 removed=6 changed=0 unchanged=4", "added=2 removed=0 changed=0 unchanged=10 generation=",
	} {
		if !strings.Contains(f.log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, f.log)
		}
	}
}
