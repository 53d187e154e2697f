package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"promostore/format"
	"promostore/format/generation"
)

// ErrManifest reports a text that is not a valid manifest.
var ErrManifest = errors.New("not a manifest of a generation")

// A Manifest describes a generation in object storage. It is a JSON object.
type Manifest struct {
	Version    int    `json:"version"` // manifestVersion
	Generation string `json:"generation"`
	Records    uint64 `json:"records"`
	Shards     int    `json:"shards"`   // number of files
	ShardBy    string `json:"shard_by"` // last, first, or none for one file
	Files      []File `json:"files"`    // by shard

	id generation.ID
}

// A File describes one file of a generation.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // in lower-case hex digits
	Digits string `json:"digits"` // servers of these digits need the file

	digits generation.Digits
}

// Versions of manifests:
//
//	1  the first one
const manifestVersion = 1

// maxManifestLen bounds the bytes of a manifest. One of 4,096 files has up to 900 kB.
const maxManifestLen = 2 << 20

const maxFileLen = 1 << 50 // bytes; the sum of all files fits into an int64

const (
	manifestPrefix = "promotions-"
	manifestSuffix = ".json"
)

func manifestName(id generation.ID) string { return manifestPrefix + id.String() + manifestSuffix }

func parseManifestName(name string) (generation.ID, bool) {
	text, prefixed := strings.CutPrefix(name, manifestPrefix)
	text, suffixed := strings.CutSuffix(text, manifestSuffix)
	if !prefixed || !suffixed {
		return 0, false
	}
	id, err := generation.ParseID(text)
	return id, err == nil && manifestName(id) == name
}

// NewManifest returns the manifest of a generation. Files has the size and the
// checksum of each shard; NewManifest adds the names and the digits.
func NewManifest(id generation.ID, s format.Sharding, records uint64, files []File) Manifest {
	m := Manifest{
		Version:    manifestVersion,
		Generation: id.String(),
		Records:    records,
		Shards:     int(s.Shards),
		ShardBy:    s.Rule.String(),
		Files:      files,
		id:         id,
	}
	for shard := range files {
		f := &files[shard]
		f.Name = generation.Name{ID: id, Shard: shard, Shards: m.Shards}.String()
		f.digits = digitsOf(s, shard)
		f.Digits = f.digits.String()
	}
	return m
}

// digitsOf returns the digits whose servers need a shard.
func digitsOf(s format.Sharding, shard int) generation.Digits {
	if s.Shards == 1 {
		return generation.AllDigits
	}
	return 1 << s.Digit(uint32(shard))
}

// parseManifest parses the manifest of generation id and checks all its fields.
// The error wraps ErrManifest.
func parseManifest(text []byte, id generation.ID) (m Manifest, err error) {
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := m.check(id); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, nil
}

// Check checks all fields of a manifest that was decoded. The error wraps
// ErrManifest.
func (m *Manifest) Check() error {
	id, err := generation.ParseID(m.Generation)
	if err == nil {
		err = m.check(id)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return nil
}

func (m *Manifest) check(id generation.ID) error {
	if m.Version > manifestVersion {
		return fmt.Errorf("version %d, above the newest known one, %d; upgrade promobuild", m.Version, manifestVersion)
	}
	if m.Version != manifestVersion {
		return fmt.Errorf("version %d, want %d", m.Version, manifestVersion)
	}
	if m.Generation != id.String() {
		return fmt.Errorf("generation %q, want %s", m.Generation, id)
	}
	m.id = id
	s, ok := format.ParseSharding(m.Shards, m.ShardBy)
	if !ok {
		return fmt.Errorf("%d shards, shard_by %q", m.Shards, m.ShardBy)
	}
	if len(m.Files) != m.Shards {
		return fmt.Errorf("%d files, want %d", len(m.Files), m.Shards)
	}
	for shard := range m.Files {
		f := &m.Files[shard]
		if err := f.Check(generation.Name{ID: id, Shard: shard, Shards: m.Shards}); err != nil {
			return err
		}
		f.digits = digitsOf(s, shard)
		if f.Digits != f.digits.String() {
			return fmt.Errorf("%s: digits %q, want %s", f.Name, f.Digits, f.digits)
		}
	}
	return nil
}

// Check checks the name, the size and the checksum of f, which was decoded.
func (f *File) Check(name generation.Name) error {
	if f.Name != name.String() {
		return fmt.Errorf("file name %q, want %s", f.Name, name)
	}
	if f.Size <= 0 || f.Size > maxFileLen {
		return fmt.Errorf("%s: size %d", f.Name, f.Size)
	}
	if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != sha256.Size || strings.ToLower(f.SHA256) != f.SHA256 {
		return fmt.Errorf("%s: %q is not a SHA-256 checksum", f.Name, f.SHA256)
	}
	return nil
}

// owned returns the files that a server of these digits needs.
func (m *Manifest) owned(digits generation.Digits) (files []File) {
	for _, f := range m.Files {
		if f.digits&digits != 0 {
			files = append(files, f)
		}
	}
	return files
}

// checkSet returns an error if m does not describe the open files of set.
func (m *Manifest) checkSet(set *generation.Set) error {
	if rule := set.Header.Rule.String(); rule != m.ShardBy {
		return fmt.Errorf("files are sharded by %q, the manifest says %q", rule, m.ShardBy)
	}
	got, all := uint64(set.Header.Records), len(set.Open()) == m.Shards
	if got > m.Records || all && got < m.Records {
		return fmt.Errorf("files have %d records, the manifest says %d", got, m.Records)
	}
	return nil
}

func sizeOf(files []File) (n int64) {
	for _, f := range files {
		n += f.Size
	}
	return n
}

// readManifest reads and checks the manifest of a generation.
func (l Location) readManifest(ctx context.Context, id generation.ID) (Manifest, error) {
	name := manifestName(id)
	text, err := l.readSmall(ctx, name, maxManifestLen)
	if err != nil {
		return Manifest{}, err
	}
	m, err := parseManifest(text, id)
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", l.url(name), err)
	}
	return m, nil
}
