package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// checkZones is what parseTrailer would say to zones.
func checkZones(zones []Zone) error {
	if len(zones) > MaxZones {
		return fmt.Errorf("BUG: %d zones, more than %d", len(zones), MaxZones)
	}
	var last, next []byte
	for i, z := range zones {
		if !z.valid() {
			return fmt.Errorf("BUG: zone %d is malformed: %+v", i, z)
		}
		next = z.AppendBinary(next[:0])
		if bytes.Compare(last, next) >= 0 {
			return fmt.Errorf("%w: zone %d is not behind the one before", ErrOrder, i)
		}
		last, next = next, last
	}
	return nil
}

// appendTrailer appends the trailer.
func appendTrailer(dst []byte, fencesSum, checksumsSum uint32, zones []Zone) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, fencesSum)
	dst = binary.BigEndian.AppendUint32(dst, checksumsSum)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(zones)))
	dst = binary.BigEndian.AppendUint32(dst, 0)
	for _, z := range zones {
		dst = z.AppendBinary(dst)
	}
	binary.BigEndian.PutUint32(dst[start+zonesLenOff:], uint32(len(dst)-start-zonesOff))
	return binary.BigEndian.AppendUint32(dst, Checksum(dst[start:]))
}

// parseTrailer reads the trailer of a file of x.regions.
func (x *Index) parseTrailer(b []byte) error {
	end := len(b) - ChecksumLen
	if got, want := Checksum(b[:end]), binary.BigEndian.Uint32(b[end:]); got != want {
		return corrupt(ErrChecksum, x.trailerOff+int64(end), "the trailer's is %08x, want %08x", got, want)
	}
	x.fencesSum = binary.BigEndian.Uint32(b[fencesSumOff:])
	x.checksumsSum = binary.BigEndian.Uint32(b[checksumsSumOff:])
	numZones := binary.BigEndian.Uint32(b[numZonesOff:])
	zonesLen := binary.BigEndian.Uint32(b[zonesLenOff:])
	if numZones > MaxZones || int64(zonesLen) != int64(end-zonesOff) {
		return corrupt(ErrCorrupt, x.trailerOff+numZonesOff, "%d zones in %d bytes do not fill a trailer of %d bytes", numZones, zonesLen, len(b))
	}
	var last []byte
	for rest := b[zonesOff:end]; len(rest) > 0; {
		if len(x.Zones) == int(numZones) {
			return corrupt(ErrCorrupt, x.trailerOff+numZonesOff, "%d zones, but there are more", numZones)
		}
		off := x.trailerOff + int64(end-len(rest))
		z, n, ok := decodeZone(rest)
		if !ok {
			return corrupt(ErrCorrupt, off, "zone %d is malformed", len(x.Zones))
		}
		if bytes.Compare(last, rest[:n]) >= 0 {
			return corrupt(ErrOrder, off, "zone %d is not behind the one before", len(x.Zones))
		}
		last = rest[:n]
		rest = rest[n:]
		x.Zones = append(x.Zones, z)
	}
	if len(x.Zones) != int(numZones) {
		return corrupt(ErrCorrupt, x.trailerOff+numZonesOff, "%d zones, but there are only %d", numZones, len(x.Zones))
	}
	return nil
}
