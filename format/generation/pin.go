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

// ErrPin reports that a pin exists but cannot be read. Servers then keep the live
// generation, and Prune removes nothing.
var ErrPin = errors.New("the pin cannot be read")

// PinName is the name of the file that holds the pin of a directory.
const PinName = "promotions.pin"

const (
	pinTempName = tempPrefix + PinName + tempSuffix
	maxPinLen   = 64 << 10 // bytes of the file
)

// A Pin selects the generation of a directory to serve instead of the newest. A
// pin that is not Active records the reason for unpinning. It remains a file, so
// that rsync without --delete transfers it.
//
// A pin UntilNewer is released by a servable generation that is newer than Newest.
// No program rewrites the file: each program finds out from the generations of its
// directory, so it needs no other node for that. See Holds.
type Pin struct {
	Active     bool
	ID         ID        // of the pinned generation, if Active
	UntilNewer bool      // only if Active
	Newest     ID        // the newest generation at the time of pinning, if UntilNewer
	By         string    // the person or program that pinned or unpinned
	Reason     string    // for people
	At         time.Time // of pinning or unpinning
}

// pinText is the JSON form of a Pin. The file holds it on one line.
type pinText struct {
	Generation *string   `json:"generation"`                 // empty: no generation is pinned
	UntilNewer string    `json:"until_newer_than,omitempty"` // Pin.Newest
	By         string    `json:"by"`
	Reason     string    `json:"reason"`
	At         time.Time `json:"at"`
}

// MarshalJSON returns the JSON form of p.
func (p Pin) MarshalJSON() ([]byte, error) {
	text := pinText{new(string), "", p.By, p.Reason, p.At}
	if p.Active {
		*text.Generation = p.ID.String()
		if p.UntilNewer {
			text.UntilNewer = p.Newest.String()
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // for people
	err := e.Encode(text)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// UnmarshalJSON parses the JSON form of a Pin. It ignores unknown fields.
func (p *Pin) UnmarshalJSON(b []byte) error {
	var text pinText
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if text.Generation == nil {
		return errors.New("the field generation is missing")
	}
	if _, err := text.At.MarshalText(); err != nil { // UnmarshalText accepts an offset of 24 hours
		return fmt.Errorf("at: %w", err)
	}
	q := Pin{By: text.By, Reason: text.Reason, At: text.At}
	if *text.Generation != "" {
		id, err := ParseID(*text.Generation)
		if err != nil {
			return err
		}
		q.Active, q.ID = true, id
	}
	if text.UntilNewer != "" && q.Active {
		id, err := ParseID(text.UntilNewer)
		if err != nil {
			return fmt.Errorf("until_newer_than: %w", err)
		}
		q.UntilNewer, q.Newest = true, id
	}
	*p = q
	return nil
}

// Equal reports whether p and q have the same fields.
func (p Pin) Equal(q Pin) bool {
	at := p.At.Equal(q.At)
	p.At, q.At = time.Time{}, time.Time{}
	return at && p == q
}

// ReadPin returns the pin of dir, or an inactive Pin if there is none. The error
// wraps ErrPin.
func ReadPin(dir string) (Pin, error) {
	path := filepath.Join(dir, PinName)
	text, err := readSmall(path, maxPinLen)
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

// readSmall reads a regular file of up to maxLen bytes.
func readSmall(path string, maxLen int64) ([]byte, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLen+1))
	if err == nil && int64(len(text)) > maxLen {
		err = fmt.Errorf("longer than %d bytes", maxLen)
	}
	return text, err
}

// SetPin makes p the pin of dir, durably. The pinned generation must be in dir;
// the caller checks before that it is servable.
//
// SetPin does not need a Writer, so that it works during a build. A lock of the
// directory itself excludes Prune.
func SetPin(dir string, p Pin) error {
	return replacePin(dir, p, func() error {
		if !p.Active {
			return nil
		}
		// A server of few digits may have few of the files.
		_, err := Find(dir, p.ID, 0)
		return err
	})
}

// CopyPin is like SetPin for a pin of another directory, whose generation may
// arrive later.
func CopyPin(dir string, p Pin) error {
	return replacePin(dir, p, func() error { return nil })
}

// replacePin makes p the pin of dir if check, which runs under the lock, returns
// nil.
func replacePin(dir string, p Pin, check func() error) error {
	text, err := p.MarshalJSON()
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if len(text) > maxPinLen {
		return fmt.Errorf("pin of %d bytes, above %d: shorten the reason", len(text), maxPinLen)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := check(); err != nil {
		return err
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

// writeFile writes and syncs a new file. It does not sync the directory.
func writeFile(path string, text []byte) error {
	if err := removeIfThere(path); err != nil { // left by a killed process
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

// sweepPin removes the temporary file of a killed SetPin.
func sweepPin(dir string) error {
	unlock, err := lockDir(dir) // then no running SetPin uses the file
	if err != nil {
		return err
	}
	defer unlock()
	return removeIfThere(filepath.Join(dir, pinTempName))
}

// lockDir waits for the lock that serializes SetPin and Prune, which hold it for
// moments. It locks the directory itself and needs no lock file.
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
