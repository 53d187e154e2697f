package page

import (
	"fmt"
	"strings"
	"time"
)

// Minutes is the number of minutes that an Activity has.
const Minutes = 60

// Activity holds the requests of the last hour.
type Activity struct {
	Until   *time.Time      `json:"until"`   // end of the last minute; null: none is complete
	Minutes [Minutes]Minute `json:"minutes"` // complete ones, the oldest first; those before the start have no requests
}

// A Minute holds the requests of one minute.
type Minute struct {
	Requests uint64  `json:"requests"`
	Errors   uint64  `json:"errors"` // answers 429 and 5xx
	P50      float64 `json:"p50"`    // seconds; 0: no requests
	P99      float64 `json:"p99"`    // seconds
}

// A Chart is a line over the last hour.
type Chart struct {
	Title, Class string
	Last         string // value of the last minute
	Text         string // the chart in words
	Line, Area   string // SVG paths in a box of chartWidth and chartHeight
}

const chartWidth, chartHeight = 300, 60

// Charts returns the lines for the page.
func (a *Activity) Charts() []Chart {
	charts := []Chart{
		a.chart("Requests a minute", "requests", func(m Minute) float64 { return float64(m.Requests) }, count),
		a.chart("Latency, p99", "slow", func(m Minute) float64 { return m.P99 }, latency),
	}
	for _, m := range a.Minutes {
		if m.Errors > 0 {
			return append(charts, a.chart("Errors a minute", "errors", func(m Minute) float64 { return float64(m.Errors) }, count))
		}
	}
	return charts
}

func (a *Activity) chart(title, class string, value func(Minute) float64, format func(float64) string) Chart {
	highest := 0.0
	for _, m := range a.Minutes {
		highest = max(highest, value(m))
	}
	var line strings.Builder
	for i, m := range a.Minutes {
		y := float64(chartHeight)
		if highest > 0 {
			y -= value(m) / highest * (chartHeight - 4)
		}
		command := byte('L')
		if i == 0 {
			command = 'M'
		}
		fmt.Fprintf(&line, "%c%.1f %.1f", command, float64(i)*chartWidth/(Minutes-1), y)
	}
	last := value(a.Minutes[Minutes-1])
	text := "no requests"
	if highest > 0 {
		text = fmt.Sprintf("highest %s, last minute %s", format(highest), format(last))
	}
	return Chart{
		Title: title, Class: class, Last: format(last), Text: text,
		Line: line.String(), Area: fmt.Sprintf("%sL%d %dL0 %dZ", line.String(), chartWidth, chartHeight, chartHeight),
	}
}

func count(v float64) string { return number(uint64(v)) }

func latency(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d == 0:
		return "–"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", 1e3*d.Seconds())
	default:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
}
