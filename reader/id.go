package reader

import (
	"github.com/google/uuid"

	"promostore/format"
)

// ParseID parses an id in any spelling that a request may use: with or without
// dashes, in braces, with the prefix urn:uuid:, in upper or lower case. It does
// not allocate.
func ParseID(text []byte) (format.Key, bool) {
	switch len(text) {
	case format.TextLen:
		k, _, err := format.ParseKey(text)
		return k, err == nil
	case len("{}") + format.TextLen:
		// Package uuid does not check the braces.
		if text[0] != '{' || text[len(text)-1] != '}' {
			return format.Key{}, false
		}
	case format.TextLen - len("----"), len("urn:uuid:") + format.TextLen:
	default:
		return format.Key{}, false
	}
	u, err := uuid.ParseBytes(text)
	if err != nil {
		return format.Key{}, false
	}
	return format.KeyAt(u[:]), true
}
