package format

import (
	"encoding/binary"
	"time"
)

// A Record is the encoding of one promotion in a file. Its methods never fail;
// Validate reports whether the fields are within their limits.
type Record [RecordLen]byte

// MakeRecord encodes a record. The arguments must come from ParseKey, ParsePrice
// and ParseDate; style is an index into the dictionary of the file. The style must
// have the zeros of the price.
func MakeRecord(key Key, upper bool, price Price, seconds uint64, style uint16) (r Record) {
	key.put(r[keyOff:])
	word := price.Digits
	if price.Negative {
		word |= signBit
	}
	binary.BigEndian.PutUint64(r[priceOff:], word)
	word = seconds<<secondsShift | uint64(style)<<styleShift | uint64(price.Scale)<<scaleShift
	if upper {
		word |= upperBit
	}
	binary.BigEndian.PutUint64(r[expiryOff:], word)
	return r
}

// Key returns the id of r.
func (r *Record) Key() Key { return KeyAt(r[keyOff:]) }

// SetKey changes the id, and leaves its case as it is.
func (r *Record) SetKey(k Key) { k.put(r[keyOff:]) }

func (r *Record) expiry() uint64 { return binary.BigEndian.Uint64(r[expiryOff:]) }

// Upper reports whether the id was written in upper case.
func (r *Record) Upper() bool { return r.expiry()&upperBit != 0 }

// Price returns the price of r, without the zeros of its style.
func (r *Record) Price() Price {
	word := binary.BigEndian.Uint64(r[priceOff:])
	return Price{
		Negative: word&signBit != 0,
		Digits:   word &^ signBit,
		Scale:    int(r.expiry() >> scaleShift & scaleMask),
	}
}

// price returns the price of r with the zeros of its style.
func (r *Record) price(style *TimestampStyle) Price {
	p := r.Price()
	p.Zeros = int(style.Zeros)
	return p
}

// Seconds returns the wall clock of the expiry, in seconds since 0000-01-01
// 00:00:00.
func (r *Record) Seconds() uint64 { return r.expiry() >> secondsShift }

// Expires returns the moment of the expiry. It reports false if the row wrote no
// offset from UTC, which leaves the moment unknown. styles is the dictionary of the
// file.
func (r *Record) Expires(styles []TimestampStyle) (time.Time, bool) {
	style := &styles[r.Style()]
	if !style.hasZone() {
		return time.Time{}, false
	}
	const unixEpoch = 719528 * daySeconds // from 0000-01-01
	return time.Unix(int64(r.Seconds())-style.Offset()-unixEpoch, 0).UTC(), true
}

// Style returns the index of the expiry's timestamp style in the dictionary.
func (r *Record) Style() int { return int(r.expiry() >> styleShift & styleMask) }

// SetStyle changes the index of the timestamp style.
func (r *Record) SetStyle(style uint16) {
	word := r.expiry()&^(styleMask<<styleShift) | uint64(style)<<styleShift
	binary.BigEndian.PutUint64(r[expiryOff:], word)
}

// Tag returns the number that SetTag stored.
func (r *Record) Tag() int {
	return int(binary.BigEndian.Uint64(r[priceOff:]) >> tagShift & tagMask)
}

// SetTag stores a number below MaxTags in bits of the price that are zero in a
// file. Except for its key and its style, a record has no meaning until the tag
// is 0 again.
func (r *Record) SetTag(tag int) {
	word := binary.BigEndian.Uint64(r[priceOff:])&^(tagMask<<tagShift) | uint64(tag)<<tagShift
	binary.BigEndian.PutUint64(r[priceOff:], word)
}

// Validate reports whether every field is within its limits. numStyles is the
// size of the dictionary. Every key is valid.
func (r *Record) Validate(numStyles int) bool {
	e := r.expiry()
	return binary.BigEndian.Uint64(r[priceOff:])<<1 < digitsEnd<<1 && // without the sign
		e < (maxSeconds+1)<<secondsShift &&
		uint64(uint16(e>>styleShift)) < uint64(numStyles) &&
		// A scale above MaxScale carries into the first of the spare bits.
		((e&(scaleMask<<scaleShift)+(scaleMask-MaxScale)<<scaleShift)|e)&spareMask == 0
}
