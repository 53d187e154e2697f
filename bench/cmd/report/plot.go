package main

import (
	"image/color"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

const height = 7 * vg.Centimeter

var blue = color.RGBA{0x1f, 0x5f, 0xa8, 0xff}

// plots writes the plots of all suites to a directory.
func (r *results) plots(dir string) error {
	for _, p := range []struct{ file, title, expr string }{
		{"build.svg", "Rate of builds, promostore = 1", "Build/(GNU_sort|DuckDB|SQLite|bbolt|Pebble|MariaDB)/"},
		{"lookup.svg", "Rate of lookups, promostore = 1", "Lookup/(bbolt|Pebble|LMDB|SQLite|Go_map)/"},
		{"http.svg", "Rate of GET over the loopback interface, promostore = 1", "HTTP/(constant|nginx|bbolt|Pebble|MariaDB)"},
	} {
		list, err := r.find(p.expr)
		if err != nil {
			return err
		}
		if err := bars(filepath.Join(dir, p.file), p.title, list); err != nil {
			return err
		}
	}
	for _, p := range []struct{ file, title, expr, unit string }{
		{"scale-build.svg", "Build from a pipe, rows/s", "Scale/build_from_a_pipe/", "rows/s"},
		{"scale-lookup.svg", "Lookup, ns", "Scale/lookup,", "ns/lookup"},
		{"scale-ready.svg", "From start to ready with a verified index, s", "Scale/ready,_index", "s"},
		{"scale-requests.svg", "GET over loopback, requests/s", "Scale/ready,_file", "requests/s"},
	} {
		list, err := r.find(p.expr)
		if err != nil {
			return err
		}
		if err := line(filepath.Join(dir, p.file), p.title, p.unit, list); err != nil {
			return err
		}
	}
	return nil
}

// bars draws the rate of each peer relative to ours, because rates of different
// hours cannot be compared.
func bars(path, title string, list []benchmark) error {
	if len(list) == 0 {
		return nil
	}
	names, values := []string{"promostore"}, plotter.Values{1}
	for i := range list {
		name, _, _ := strings.Cut(list[i].label(), " (")
		names, values = append(names, strings.TrimSuffix(name, " in the same handler")), append(values, 1/list[i].metrics["ratio"])
	}
	p := plot.New()
	p.Title.Text, p.Title.Padding, p.Y.Min = title, 3*vg.Millimeter, 0
	b, err := plotter.NewBarChart(values, 15*vg.Millimeter)
	if err != nil {
		return err
	}
	b.Color = blue
	p.Add(b)
	p.NominalX(names...)
	return p.Save(18*vg.Centimeter, height, path)
}

// line draws values by the number of rows, which is on a logarithmic axis.
func line(path, title, unit string, list []benchmark) error {
	if len(list) < 2 {
		return nil
	}
	var points plotter.XYs
	for i := range list {
		_, rows, _ := strings.Cut(list[i].name, "/rows=")
		scale := map[byte]float64{'k': 1e3, 'M': 1e6}[rows[len(rows)-1]]
		n, err := strconv.ParseFloat(strings.TrimRight(rows, "kM"), 64)
		if err != nil {
			return err
		}
		points = append(points, plotter.XY{X: n * math.Max(scale, 1), Y: list[i].metrics[unit]})
	}
	p := plot.New()
	p.Title.Text, p.Title.Padding, p.X.Label.Text, p.Y.Min = title, 3*vg.Millimeter, "rows", 0
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	l, s, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	l.Color, s.Color = blue, blue
	p.Add(l, s)
	return p.Save(12*vg.Centimeter, height, path)
}
