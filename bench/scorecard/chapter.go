package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"promostore/bench/building"
	"promostore/bench/contest"
	"promostore/bench/limits"
	"promostore/bench/lookups"
	"promostore/bench/scale"
	"promostore/bench/serving"
)

// A chapter is what an area is called in the report, and what it costs.
type chapter struct {
	name  string
	run   contest.Area
	large bool // measures the generation of PROMO_BENCH_LARGE, too

	seconds     float64 // at any size
	secondsMega float64 // more for each million rows
	disk        int64   // bytes at any size
	diskRow     int64   // more for each row
}

// The costs were measured on 2 cores, without a large generation: the bytes of
// building by du, 5 times a second, 1,336 a row in all with 3 M rows. Those of
// http are for the generations that it swaps, of all rows up to 10 M; those of
// scale are the 1.2 times its file that a build takes at most.
var chapters = []chapter{
	{name: "build", run: building.Run, seconds: 30, secondsMega: 27, disk: 200 << 20, diskRow: 1300},
	{name: "lookup", run: lookups.Run, seconds: 60, secondsMega: 18, diskRow: 750},
	{name: "http", run: serving.Run, seconds: 150, secondsMega: 5, disk: 1 << 30, diskRow: 750},
	{name: "limits", run: limits.Run, large: true, seconds: 90, secondsMega: 2, disk: 600 << 20, diskRow: 200},
	{name: "scale", run: scale.Run, large: true, seconds: 60, secondsMega: 1, diskRow: 40},
}

const (
	startSeconds = 15         // of the programs and of the disk
	startDisk    = 1200 << 20 // bytes; a GiB of them to measure the disk
	leastRows    = 10_000     // that fit chooses
)

func names(list []chapter) string {
	var names []string
	for _, c := range list {
		names = append(names, c.name)
	}
	return strings.Join(names, ",")
}

// choose is the chapters of a list of their names, in their order.
func choose(list string) ([]chapter, error) {
	wanted := strings.Split(list, ",")
	var chosen []chapter
	for _, c := range chapters {
		if i := slices.Index(wanted, c.name); i >= 0 {
			chosen = append(chosen, c)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("no area %q; there are %s", wanted[0], names(chapters))
	}
	return chosen, nil
}

// takes is about how long the chapter takes.
func (c *chapter) takes(rows int64) time.Duration {
	seconds := c.seconds + c.secondsMega*float64(rows)/1e6
	return time.Duration(seconds * float64(time.Second))
}

// total is about how long the chapters take, with the start.
func total(chosen []chapter, rows int64) time.Duration {
	sum := startSeconds * time.Second
	for i := range chosen {
		sum += chosen[i].takes(rows)
	}
	return sum
}

// disk is about how many bytes the chapters need in the end: what one has made
// is left for the next.
func disk(chosen []chapter, rows int64) int64 {
	most := int64(startDisk)
	for _, c := range chosen {
		most = max(most, startDisk+c.disk+c.diskRow*rows)
	}
	return most
}

// fit is the rows, 1, 2 or 5 times a power of ten, that should take no more
// than so many seconds.
func fit(chosen []chapter, seconds float64) (int64, error) {
	fits := func(rows int64) bool { return total(chosen, rows).Seconds() <= seconds }
	if !fits(leastRows) {
		var each []string
		for i := range chosen {
			each = append(each, fmt.Sprintf("%s %.0f", chosen[i].name, chosen[i].takes(leastRows).Seconds()))
		}
		return 0, fmt.Errorf("about %.0f seconds are needed at least (%d to start, %s): give more by SECONDS=, or fewer AREAS=",
			total(chosen, leastRows).Seconds(), startSeconds, strings.Join(each, ", "))
	}
	rows := int64(leastRows)
	for step := 0; ; step++ {
		next := rows * 2
		if step%3 == 1 {
			next = rows / 2 * 5
		}
		if !fits(next) {
			return rows, nil
		}
		rows = next
	}
}
