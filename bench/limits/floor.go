package limits

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/synth"
)

// A Floor is a server that does the least that there is to do: each connection
// has a thread, which reads a request, reads a block of the file with pread
// unless the id is one of those in memory, and writes a constant answer. None
// of it goes through the scheduler of Go: the kernel decides who runs when.
type Floor struct {
	File string
	Rows int64 // of the table of package synth that File was made of
	Hot  int64 // the first of them, which are answered without a read
}

// floorConns is how many connections a Floor can have in its life.
const floorConns = 1000

// floorAnswer is as long as one of promoserve.
var floorAnswer = []byte("HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 13:28:26 GMT\r\nContent-Type: application/json\r\nContent-Length: 98\r\n" +
	"X-Promotions-Generation: 20261124T132826588Z\r\nEtag: \"0123456789abcdef\"\r\n\r\n" +
	`{"id":"172ffc14-d229-4c93-b06b-f48b8c095512","price":9.68,"expiration_date":"2022-06-04 06:01:20"}`)

// Serve answers on ln until ctx ends. The process is of no other use: it keeps
// its threads, and collects no garbage, for which it would have to stop them.
func (o *Floor) Serve(ctx context.Context, ln net.Listener) error {
	runtime.GOMAXPROCS(floorConns + 2) // no thread waits for a processor of the scheduler
	debug.SetGCPercent(-1)
	f, err := os.Open(o.File)
	if err != nil {
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return errors.Join(err, f.Close())
	}
	s := floorServer{file: int(f.Fd()), blocks: (o.Rows + format.RecordsPerBlock - 1) / format.RecordsPerBlock, hot: make(map[format.Key]bool, o.Hot)}
	for i := range o.Hot {
		s.hot[synth.Keys{Kind: synth.KeysV4}.At(uint64(i))] = true
	}
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	for range floorConns {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		file, err := conn.(*net.TCPConn).File()
		if err = errors.Join(err, conn.Close()); err != nil {
			return err
		}
		if err := unix.SetNonblock(int(file.Fd()), false); err != nil {
			return err
		}
		go func() {
			defer file.Close()
			runtime.LockOSThread()
			s.serve(int(file.Fd()))
		}()
	}
	return fmt.Errorf("more than %d connections", floorConns)
}

type floorServer struct {
	file   int
	blocks int64
	hot    map[format.Key]bool
}

// serve answers the requests of a connection, of which each comes in one piece.
func (s *floorServer) serve(conn int) {
	request, block, front := make([]byte, 4<<10), make([]byte, format.BlockLen), []byte("GET /promotions/")
	for {
		n, ok := rawIO(unix.SYS_READ, conn, request, 0)
		if !ok || n == 0 {
			return
		}
		// What is for no promotion asks whether the server is there.
		if id, ok := bytes.CutPrefix(request[:n], front); ok {
			key, _, err := format.ParseKey(id[:min(len(id), format.TextLen)])
			if err != nil {
				return
			}
			if !s.hot[key] {
				at, _ := bits.Mul64(key.Hi, uint64(s.blocks)) // about where it is
				if _, ok := rawIO(unix.SYS_PREAD64, s.file, block, format.BlockOff(int64(at))); !ok {
					return
				}
			}
		}
		if _, ok := rawIO(unix.SYS_WRITE, conn, floorAnswer, 0); !ok {
			return
		}
	}
}

func rawIO(call uintptr, fd int, b []byte, off int64) (n int, ok bool) {
	for {
		n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(off), 0, 0)
		if errno != unix.EINTR {
			return int(n), errno == 0
		}
	}
}
