// Package web is what the HTTP servers of both programs have in common: the
// certificate that they show, and the page of their metrics.
package web

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// A Page is metrics in the text format of Prometheus, version 0.0.4.
type Page struct {
	bytes.Buffer
	name string // of the current family
}

// labelEscaper escapes a label's value as the format has it, which is not as
// Go has it.
var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// Family begins the samples of one metric. kind is counter, gauge or
// histogram.
func (p *Page) Family(name, kind, help string) {
	p.name = name
	fmt.Fprintf(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// Sample writes one value of the current family; labels are names and values
// by turns.
func (p *Page) Sample(suffix string, value float64, labels ...string) {
	p.WriteString(p.name + suffix)
	for i := 0; i < len(labels); i += 2 {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		p.WriteByte(sep)
		p.WriteString(labels[i] + `="` + labelEscaper.Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		p.WriteByte('}')
	}
	p.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}
