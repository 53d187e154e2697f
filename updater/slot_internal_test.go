package updater

import (
	"errors"
	"testing"
	"time"
)

func TestSlotAdmitsOneBuild(t *testing.T) {
	s := newSlot()
	if err := s.tryAcquire(); err != nil {
		t.Fatal(err)
	}
	if err := s.tryAcquire(); !errors.Is(err, errBusy) {
		t.Errorf("second tryAcquire: %v, want %v", err, errBusy)
	}
	acquired := make(chan error)
	go func() { acquired <- s.acquire() }()
	select {
	case err := <-acquired:
		t.Fatalf("acquire of a held slot: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.release()
	if err := <-acquired; err != nil {
		t.Errorf("acquire after release: %v", err)
	}
}

func TestSlotAdmitsNoBuildAfterClose(t *testing.T) {
	s := newSlot()
	if err := s.tryAcquire(); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() { waiting <- s.acquire() }()
	s.close()
	if err := <-waiting; !errors.Is(err, errClosed) {
		t.Errorf("waiting acquire: %v, want %v", err, errClosed)
	}
	drained := make(chan struct{})
	go func() { s.drain(); close(drained) }()
	select {
	case <-drained:
		t.Fatal("drain returned during a build")
	case <-time.After(20 * time.Millisecond):
	}
	s.release()
	<-drained
	s.drain() // the second call returns, too
	for name, acquire := range map[string]func() error{"tryAcquire": s.tryAcquire, "acquire": s.acquire} {
		if err := acquire(); !errors.Is(err, errClosed) {
			t.Errorf("%s after drain: %v, want %v", name, err, errClosed)
		}
	}
}
