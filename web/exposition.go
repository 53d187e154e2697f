package web

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// ExpositionType is the content type of the text that an ExpositionWriter
// writes.
const ExpositionType = "text/plain; version=0.0.4; charset=utf-8"

// An ExpositionWriter writes metrics in the Prometheus text exposition format,
// version 0.0.4. Every family that it writes has a TYPE. The zero value is
// ready to use. It is not safe for concurrent use.
type ExpositionWriter struct {
	b    bytes.Buffer
	name string // of the current family
}

// labelEscaper escapes label values. The format escapes only these three
// characters, so strconv.Quote does not fit.
var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// Family begins a metric family. Its kind is counter, gauge or histogram.
func (w *ExpositionWriter) Family(name, kind, help string) {
	w.name = name
	fmt.Fprintf(&w.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// Sample writes one sample of the current family. The suffix is empty except
// for the series of a histogram. The labels alternate names and values.
func (w *ExpositionWriter) Sample(suffix string, value float64, labels ...string) {
	w.b.WriteString(w.name + suffix)
	for i := 0; i < len(labels); i += 2 {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		w.b.WriteByte(sep)
		w.b.WriteString(labels[i] + `="` + labelEscaper.Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		w.b.WriteByte('}')
	}
	w.b.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// Counter writes a family of one counter without labels.
func (w *ExpositionWriter) Counter(name string, value uint64, help string) {
	w.Family(name, "counter", help)
	w.Sample("", float64(value))
}

// Gauge writes a family of one gauge without labels.
func (w *ExpositionWriter) Gauge(name string, value float64, help string) {
	w.Family(name, "gauge", help)
	w.Sample("", value)
}

// Bool writes a family of one gauge, which is 1 if value is true.
func (w *ExpositionWriter) Bool(name string, value bool, help string) {
	n := 0.0
	if value {
		n = 1
	}
	w.Gauge(name, n, help)
}

// Process writes the build information of a program as the family name, and
// the metrics of the Go runtime and of the process.
//
// The metrics library writes their TYPE only if a switch of the whole process
// is on; Process turns it on. The library writes no HELP text, and calls some
// counters gauges. Neither affects a query.
func (w *ExpositionWriter) Process(name, version string) {
	w.Family(name, "gauge", "Version of the program and of Go; always 1.")
	w.Sample("", 1, "version", version, "goversion", runtime.Version())
	metrics.ExposeMetadata(true)
	metrics.WriteProcessMetrics(&w.b)
	metrics.WriteFDMetrics(&w.b)
}

// Bytes returns the text written so far. It is valid until the next write.
func (w *ExpositionWriter) Bytes() []byte { return w.b.Bytes() }
