package builder

import (
	"fmt"
	"math"
	"sync"
	"syscall"

	"promostore/format"
)

// An arena is all the memory that records live in, cut into pages. It is
// mapped once, so that its size bounds what a build uses, and asks for huge
// pages, which spare most of the page faults and TLB misses.
//
// Safe for concurrent use as far as each page has one owner at a time.
type arena struct {
	mem     []byte // all of it
	records []format.Record
	buffers [][]format.Record // one for each sorter; here they do not count for the garbage collector
	direct  [][]byte          // to write from, aligned for direct I/O; so are records
	shift   uint              // a page has 1<<shift records

	mu   sync.Mutex // guards free and used
	free []int32    // pages that were given back
	used int32      // pages that were ever given out, and so have memory

	fill []int32 // records in each page
	next []int32 // the page behind each in its chain
}

const noPage = -1

// newArena maps an arena of the sizes s with buffers for sorters.
func newArena(s sizes, sorters int) (*arena, error) {
	bytes := min(s.arena, math.MaxUint32*format.RecordLen) // a slot is a uint32
	pages := bytes / format.RecordLen >> s.page
	bytes = pages << s.page * format.RecordLen
	direct, leaf := numDirect*s.direct, 2*s.leaf*format.RecordLen
	mem, err := syscall.Mmap(-1, 0, direct+int(bytes)+sorters*leaf, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for records: %w; lower the memory budget", bytes, err)
	}
	_ = syscall.Madvise(mem, syscall.MADV_HUGEPAGE) // an error means: no huge pages here
	a := &arena{
		mem:   mem,
		shift: s.page,
		fill:  make([]int32, pages),
		next:  make([]int32, pages),
	}
	cut := func(n int) []byte {
		b := mem[:n:n]
		mem = mem[n:]
		return b
	}
	for range numDirect {
		a.direct = append(a.direct, cut(s.direct))
	}
	a.records = format.Records(cut(int(bytes)))
	for range sorters {
		a.buffers = append(a.buffers, format.Records(cut(leaf)))
	}
	return a, nil
}

func (a *arena) close() error { return syscall.Munmap(a.mem) }

func (a *arena) pageRecords() int { return 1 << a.shift }

// page is the memory of a page.
func (a *arena) page(p int32) []format.Record {
	return a.records[int(p)<<a.shift : (int(p)+1)<<a.shift]
}

// filled is the records in a page.
func (a *arena) filled(p int32) []format.Record { return a.page(p)[:a.fill[p]] }

// available is the number of pages that alloc can still give.
func (a *arena) available() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.fill) - int(a.used) + len(a.free)
}

// alloc gives out an empty page, or noPage if there is none.
func (a *arena) alloc() int32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var p int32
	if n := len(a.free); n > 0 {
		p = a.free[n-1]
		a.free = a.free[:n-1]
	} else {
		if int(a.used) == len(a.fill) {
			return noPage
		}
		p = a.used
		a.used++
	}
	a.fill[p], a.next[p] = 0, noPage
	return p
}

// release takes pages back.
func (a *arena) release(pages ...int32) {
	a.mu.Lock()
	a.free = append(a.free, pages...)
	a.mu.Unlock()
}

// A chain is a sequence of records in pages of an arena, in the order of the
// input. The zero value is not empty: use emptyChain.
type chain struct {
	head, tail int32
	n          int
}

var emptyChain = chain{head: noPage, tail: noPage}

// grow makes room for n more records behind c. Room begins at slot, an index
// into arena.records; a slot that fills its page is followed by the first of
// the next page. Behind the room there is always a slot, so that following the
// chain never runs into a link that is not there yet. That there are pages for
// it is the caller's to know, by pagesFor.
func (a *arena) grow(c *chain, n int) (slot uint32) {
	if c.head == noPage {
		a.mustAppend(c)
	}
	slot = uint32(c.tail)<<a.shift + uint32(a.fill[c.tail])
	c.n += n
	for n > 0 {
		m := min(n, a.pageRecords()-int(a.fill[c.tail]))
		a.fill[c.tail] += int32(m)
		n -= m
		if int(a.fill[c.tail]) == a.pageRecords() {
			a.mustAppend(c)
		}
	}
	return slot
}

func (a *arena) mustAppend(c *chain) {
	if !a.append(c) {
		panic("BUG: the arena has no page left")
	}
}

// append gives c another page behind its last, if there is one.
func (a *arena) append(c *chain) bool {
	p := a.alloc()
	if p == noPage {
		return false
	}
	if c.head == noPage {
		c.head = p
	} else {
		a.next[c.tail] = p
	}
	c.tail = p
	return true
}

// pagesFor is how many pages grow would take.
func (a *arena) pagesFor(c *chain, n int) int {
	if c.head == noPage {
		return 1 + n>>a.shift
	}
	return (int(a.fill[c.tail]) + n) >> a.shift
}

// advance is the slot behind slot in a chain.
func (a *arena) advance(slot uint32) uint32 {
	slot++
	if slot&(1<<a.shift-1) == 0 {
		return uint32(a.next[(slot-1)>>a.shift]) << a.shift
	}
	return slot
}

// pages are the pages of c, in its order.
func (a *arena) pages(c chain) []int32 {
	var pages []int32
	for p := c.head; p != noPage; p = a.next[p] {
		pages = append(pages, p)
	}
	return pages
}

// join appends b to c; b must not be used any more.
func (a *arena) join(c *chain, b chain) {
	switch {
	case b.head == noPage:
	case c.head == noPage:
		*c = b
	default:
		a.next[c.tail] = b.head
		c.tail = b.tail
		c.n += b.n
	}
}

// reset gives every page back.
func (a *arena) reset() {
	a.mu.Lock()
	a.free = a.free[:0]
	a.used = 0
	a.mu.Unlock()
}
