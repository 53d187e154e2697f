package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// checkStyles reports an error if parseTrailer would reject styles.
func checkStyles(styles []TimestampStyle) error {
	if len(styles) > MaxStyles {
		return fmt.Errorf("BUG: %d timestamp styles, above %d", len(styles), MaxStyles)
	}
	var last, next []byte
	for i, z := range styles {
		if !z.valid() {
			return fmt.Errorf("BUG: malformed timestamp style %d: %+v", i, z)
		}
		next = z.AppendBinary(next[:0])
		if bytes.Compare(last, next) >= 0 {
			return fmt.Errorf("%w: timestamp style %d does not sort after its predecessor", ErrOrder, i)
		}
		last, next = next, last
	}
	return nil
}

// versionOf returns the lowest version of a file with these styles.
func versionOf(styles []TimestampStyle) uint32 {
	version := uint32(version1)
	for _, z := range styles {
		version = max(version, z.version())
	}
	return version
}

// appendTrailer appends the trailer to dst.
func appendTrailer(dst []byte, fencesSum, checksumsSum uint32, styles []TimestampStyle) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, fencesSum)
	dst = binary.BigEndian.AppendUint32(dst, checksumsSum)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(styles)))
	dst = binary.BigEndian.AppendUint32(dst, 0)
	for _, z := range styles {
		dst = z.AppendBinary(dst)
	}
	binary.BigEndian.PutUint32(dst[start+stylesLenOff:], uint32(len(dst)-start-stylesOff))
	return binary.BigEndian.AppendUint32(dst, Checksum(dst[start:]))
}

// parseTrailer parses the trailer, which stands at x.trailerOff.
func (x *Index) parseTrailer(b []byte) error {
	end := len(b) - ChecksumLen
	if got, want := Checksum(b[:end]), binary.BigEndian.Uint32(b[end:]); got != want {
		return corrupt(ErrChecksum, x.trailerOff+int64(end), "trailer: %08x, want %08x", got, want)
	}
	x.fencesSum = binary.BigEndian.Uint32(b[fencesSumOff:])
	x.checksumsSum = binary.BigEndian.Uint32(b[checksumsSumOff:])
	numStyles := binary.BigEndian.Uint32(b[numStylesOff:])
	stylesLen := binary.BigEndian.Uint32(b[stylesLenOff:])
	if numStyles > MaxStyles || int64(stylesLen) != int64(end-stylesOff) {
		return corrupt(ErrCorrupt, x.trailerOff+numStylesOff, "%d timestamp styles in %d bytes, but a trailer of %d bytes", numStyles, stylesLen, len(b))
	}
	var last []byte
	for rest := b[stylesOff:end]; len(rest) > 0; {
		if len(x.Styles) == int(numStyles) {
			return corrupt(ErrCorrupt, x.trailerOff+numStylesOff, "more than the stated %d timestamp styles", numStyles)
		}
		off := x.trailerOff + int64(end-len(rest))
		z, n, ok := decodeTimestampStyle(rest)
		if !ok || z.version() > x.Version {
			return corrupt(ErrCorrupt, off, "malformed timestamp style %d", len(x.Styles))
		}
		if bytes.Compare(last, rest[:n]) >= 0 {
			return corrupt(ErrOrder, off, "timestamp style %d does not sort after its predecessor", len(x.Styles))
		}
		last = rest[:n]
		rest = rest[n:]
		x.Styles = append(x.Styles, z)
	}
	x.numStyles = int(numStyles)
	if len(x.Styles) != x.numStyles {
		return corrupt(ErrCorrupt, x.trailerOff+numStylesOff, "%d timestamp styles, want %d", len(x.Styles), numStyles)
	}
	if v := versionOf(x.Styles); v < x.Version {
		return corrupt(ErrCorrupt, x.trailerOff+stylesOff, "version %d, but the timestamp styles are those of version %d", x.Version, v)
	}
	return nil
}
