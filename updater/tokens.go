package updater

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"

	"promostore/internal/fsx"
)

// maxTokenFile is the maximum length of a token file, in bytes.
const maxTokenFile = 64 << 10

// A tokenFile holds the tokens of a file that may change at any time. Safe for
// concurrent use.
type tokenFile struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex // guards the fields below
	list tokens
	err  string // of the latest load; empty: none
}

// openTokenFile returns the tokens of the file at path.
func openTokenFile(path string, log *slog.Logger) (*tokenFile, error) {
	list, err := readTokens(path)
	if err != nil {
		return nil, err
	}
	return &tokenFile{path: path, log: log, list: list}, nil
}

// load reads the file again, so that a change takes effect at once. If it cannot
// be used, the previous tokens remain valid. To remove or empty the file revokes
// all of them.
func (f *tokenFile) load() (tokens, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, err := readTokens(f.path)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoToken) {
		f.list = list
	}
	last := f.err
	f.err = ""
	if err != nil {
		f.err = err.Error()
	}
	switch {
	case f.err != "" && f.err != last:
		f.log.Error("token file refused", "error", err, "valid_tokens", len(f.list))
	case f.err == "" && last != "":
		f.log.Info("token file accepted", "file", f.path, "valid_tokens", len(f.list))
	}
	return f.list, err
}

var errNoToken = errors.New("contains no token")

// A tokenError reports a line of a token file that is not a token. It does not
// quote the line, which may be a secret.
type tokenError struct {
	path string
	line int // counted from 1
}

func (e *tokenError) Error() string {
	return fmt.Sprintf("%s:%d: not a token of RFC 6750: use letters, digits and - . _ ~ + /, then = at the end; comments are not allowed", e.path, e.line)
}

// tokens are the hashes of the valid tokens. Hashes have one length, so that a
// comparison does not reveal the length of a token.
type tokens [][sha256.Size]byte

// readTokens reads a file with one token per line. Several tokens let clients
// move from an old one to a new one.
func readTokens(path string) (tokens, error) {
	f, err := fsx.OpenRegular(path) // a pipe would hold the request until someone writes to it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxTokenFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxTokenFile)
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // byte-order mark
	var list tokens
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.Trim(line, " \t\r\n")
		if len(line) == 0 {
			continue
		}
		if !isToken(line) {
			return nil, &tokenError{path, number}
		}
		list = append(list, sha256.Sum256(line))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s %w", path, errNoToken)
	}
	return list, nil
}

// isToken reports whether text is a b64token of RFC 6750.
func isToken(text []byte) bool {
	text = bytes.TrimRight(text, "=")
	for _, c := range text {
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		case bytes.IndexByte([]byte("-._~+/"), c) >= 0:
		default:
			return false
		}
	}
	return len(text) > 0
}

// has reports whether token is valid, in constant time.
func (t tokens) has(token string) bool {
	hash := sha256.Sum256([]byte(token))
	found := 0
	for _, valid := range t {
		found |= subtle.ConstantTimeCompare(hash[:], valid[:])
	}
	return found == 1
}
