package updater_test

import (
	"net/http"
	"strings"
	"testing"

	"promostore/updater"
)

// An upload whose last row has no line end is marked in the answer and in the
// status, and refused if the updater requires one.
func TestUnterminatedUpload(t *testing.T) {
	csv := dataSet(t, 1000)
	cut := strings.TrimSuffix(csv, "\n")
	f := start(t, nil)
	for body, want := range map[string]bool{csv: false, cut: true} {
		a := f.post(t, strings.NewReader(body))
		a.want(t, http.StatusCreated, "")
		if a.object["unterminated"] != want {
			t.Errorf("answer %s, want unterminated %t", a.text, want)
		}
	}
	f = start(t, func(o *updater.Options) { o.Build.RequireFinalNewline = true })
	f.post(t, strings.NewReader(cut)).want(t, http.StatusUnprocessableEntity, "refused")
	f.post(t, strings.NewReader(csv)).want(t, http.StatusCreated, "")
}
