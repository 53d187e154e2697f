package generation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"promostore/internal/fsx"
)

// ErrPin says that there is a pin which cannot be read. What it pins is not
// known: servers keep what they serve, and nothing is pruned.
var ErrPin = errors.New("the pin cannot be read")

// PinName is the file of a directory that has its pin.
const PinName = "promotions.pin"

const (
	pinTempName = tempPrefix + PinName + tempSuffix
	maxPinLen   = 64 << 10 // bytes of the file
)

// A Pin says which generation of a directory to serve, whatever is newer. One
// that is not Active says who has unpinned and why: since it is a file as well,
// copies that never delete carry it, too.
type Pin struct {
	Active bool
	ID     ID // of an active pin
	By     string
	Reason string
	At     time.Time
}

// pinText is a Pin as the file has it: one line of JSON.
type pinText struct {
	Generation *string   `json:"generation"` // empty: nothing is pinned
	By         string    `json:"by"`
	Reason     string    `json:"reason"`
	At         time.Time `json:"at"`
}

// MarshalJSON gives p as the file has it.
func (p Pin) MarshalJSON() ([]byte, error) {
	text := pinText{new(string), p.By, p.Reason, p.At}
	if p.Active {
		*text.Generation = p.ID.String()
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // people read it
	err := e.Encode(text)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// UnmarshalJSON is the inverse of MarshalJSON. It passes over fields that it
// does not know.
func (p *Pin) UnmarshalJSON(b []byte) error {
	var text pinText
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if text.Generation == nil {
		return errors.New("it names no generation, not even an empty one")
	}
	q := Pin{By: text.By, Reason: text.Reason, At: text.At}
	if *text.Generation != "" {
		id, err := ParseID(*text.Generation)
		if err != nil {
			return err
		}
		q.Active, q.ID = true, id
	}
	*p = q
	return nil
}

// Equal reports whether p and q say the same.
func (p Pin) Equal(q Pin) bool {
	at := p.At.Equal(q.At)
	p.At, q.At = time.Time{}, time.Time{}
	return at && p == q
}

// ReadPin is the pin of dir, not active if there is none. The error wraps
// ErrPin.
func ReadPin(dir string) (Pin, error) {
	path := filepath.Join(dir, PinName)
	text, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Pin{}, nil
	}
	var p Pin
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return Pin{}, fmt.Errorf("%w: %s: %w", ErrPin, path, err)
	}
	return p, nil
}

// readSmall reads a regular file of up to maxPinLen.
func readSmall(path string) ([]byte, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPinLen+1))
	if err == nil && len(text) > maxPinLen {
		err = fmt.Errorf("it is longer than %d bytes", maxPinLen)
	}
	return text, err
}

// SetPin makes p the pin of dir, durably. What an active one pins must be
// there; whether it is good is for the caller to find out before.
//
// It does not need the Writer, so that a build which runs keeps nobody from
// going back. Against Prune there is a lock of the directory itself.
func SetPin(dir string, p Pin) error {
	text, err := p.MarshalJSON()
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if len(text) > maxPinLen {
		return fmt.Errorf("a pin of %d bytes is longer than %d: shorten the reason", len(text), maxPinLen)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if p.Active {
		if _, err := Find(dir, p.ID); err != nil {
			return err
		}
	}
	temp := filepath.Join(dir, pinTempName)
	err = writeFile(temp, text)
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, PinName))
	}
	if err != nil {
		os.Remove(temp)
		return err
	}
	return fsx.SyncDir(dir)
}

// writeFile makes a file of its own, durably but for its name.
func writeFile(path string, text []byte) error {
	if err := removeIfThere(path); err != nil { // left by who was killed
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sweepPin removes what a killed SetPin has left.
func sweepPin(dir string) error {
	unlock, err := lockDir(dir) // from then on it is nobody's who lives
	if err != nil {
		return err
	}
	defer unlock()
	return removeIfThere(filepath.Join(dir, pinTempName))
}

func removeIfThere(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// lockDir waits for the lock that keeps pins and removals apart. It is held for
// moments, and of the directory, so that it needs no file.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = closeLocked(d) }, nil
}
