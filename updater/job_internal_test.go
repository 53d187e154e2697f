package updater

import (
	"testing"
	"time"

	"promostore/builder"
)

func TestPercentHasOneDecimal(t *testing.T) {
	var l buildLog
	for _, c := range []struct {
		status builder.Status
		want   float64
	}{
		{builder.Status{Phase: builder.PhaseRead, InputBytes: 1, InputSize: 3}, 16.7},
		{builder.Status{Phase: builder.PhaseMerge, Rows: 7_000, Records: 1_140}, 58},
		{builder.Status{Phase: builder.PhasePublish}, 99},
	} {
		l.begin(job{}, time.Now())
		l.observe(c.status)
		if got := l.running.Percent; got != c.want {
			t.Errorf("%+v: %v%%, want %v%%", c.status, got, c.want)
		}
		l.end(nil)
	}
}
