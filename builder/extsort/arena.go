package extsort

import (
	"fmt"
	"math"
	"sync"
	"syscall"

	"promostore/format"
)

// An arena is the memory for all records, divided into pages. It is mapped
// once, so its size bounds the memory of a sort. It asks for huge pages, which
// avoid most page faults and TLB misses.
//
// It is safe for concurrent use as long as each page has one owner at a time.
type arena struct {
	mem     []byte // all of it
	records []format.Record
	buffers [][]format.Record // one for each sorting goroutine; outside the heap, so the garbage collector ignores them
	direct  [][]byte          // write buffers; they and records are aligned for direct I/O
	rest    []byte            // mem without direct
	shift   uint              // a page has 1<<shift records

	mu   sync.Mutex // guards free and used
	free []int32    // released pages
	used int32      // pages that were ever allocated, and so have physical memory

	fill []int32 // records in each page
	next []int32 // the following page in the chain of each page
}

const noPage = -1

// newArena maps an arena with a buffer for each of this number of sorters.
func newArena(s Sizes, sorters int) (*arena, error) {
	bytes := min(s.Arena, math.MaxUint32*format.RecordLen) // a slot is a uint32
	pages := bytes / format.RecordLen >> s.Page
	bytes = pages << s.Page * format.RecordLen
	direct, leaf := numDirect*s.Direct, 2*s.Leaf*format.RecordLen
	mem, err := syscall.Mmap(-1, 0, direct+int(bytes)+sorters*leaf, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for records: %w; lower the memory budget", bytes, err)
	}
	_ = syscall.Madvise(mem, syscall.MADV_HUGEPAGE) // fails where there are no huge pages
	a := &arena{
		mem:   mem,
		shift: s.Page,
		fill:  make([]int32, pages),
		next:  make([]int32, pages),
	}
	cut := func(n int) []byte {
		b := mem[:n:n]
		mem = mem[n:]
		return b
	}
	for range numDirect {
		a.direct = append(a.direct, cut(s.Direct))
	}
	a.rest = mem
	a.records = format.Records(cut(int(bytes)))
	for range sorters {
		a.buffers = append(a.buffers, format.Records(cut(leaf)))
	}
	return a, nil
}

// discard returns the memory to the system, except for the write buffers. The
// content is lost.
func (a *arena) discard() {
	if len(a.rest) > 0 {
		_ = syscall.Madvise(a.rest, syscall.MADV_DONTNEED) // else close does it
	}
}

func (a *arena) close() error { return syscall.Munmap(a.mem) }

func (a *arena) pageRecords() int { return 1 << a.shift }

// page returns the memory of page p.
func (a *arena) page(p int32) []format.Record {
	return a.records[int(p)<<a.shift : (int(p)+1)<<a.shift]
}

// filled returns the records in page p.
func (a *arena) filled(p int32) []format.Record { return a.page(p)[:a.fill[p]] }

// available returns the number of pages that alloc can still return.
func (a *arena) available() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.fill) - int(a.used) + len(a.free)
}

// alloc returns an empty page, or noPage if there is none.
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

// release frees pages.
func (a *arena) release(pages ...int32) {
	a.mu.Lock()
	a.free = append(a.free, pages...)
	a.mu.Unlock()
}

// A chain is a sequence of records in pages of an arena, in the order of the
// input. An empty chain is emptyChain, not the zero value.
type chain struct {
	head, tail int32
	n          int
}

var emptyChain = chain{head: noPage, tail: noPage}

// grow reserves n slots at the end of c and returns the first one, an index
// into arena.records; use advance to go to the next. There must be enough free
// pages, see pagesFor.
//
// grow leaves a free slot after the reserved ones, in another page if need be.
// So advance never follows a link that is not set yet.
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

// append adds an empty page to the end of c. It reports whether there was one.
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

// pagesFor returns the number of pages that grow would allocate.
func (a *arena) pagesFor(c *chain, n int) int {
	if c.head == noPage {
		return 1 + n>>a.shift
	}
	return (int(a.fill[c.tail]) + n) >> a.shift
}

// advance returns the slot after slot in its chain.
func (a *arena) advance(slot uint32) uint32 {
	slot++
	if slot&(1<<a.shift-1) == 0 {
		return uint32(a.next[(slot-1)>>a.shift]) << a.shift
	}
	return slot
}

// pages returns the pages of c, in order.
func (a *arena) pages(c chain) []int32 {
	var pages []int32
	for p := c.head; p != noPage; p = a.next[p] {
		pages = append(pages, p)
	}
	return pages
}

// join appends b to c. The caller must not use b again.
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

// reset frees every page.
func (a *arena) reset() {
	a.mu.Lock()
	a.free = a.free[:0]
	a.used = 0
	a.mu.Unlock()
}
