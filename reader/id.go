package reader

import (
	"github.com/google/uuid"

	"promostore/format"
)

// ParseID reads an id in any of the spellings that requests may have: with or
// without dashes, in braces, as urn:uuid:, in any case. It does not allocate.
func ParseID(text []byte) (format.Key, bool) {
	switch len(text) {
	case format.TextLen:
		k, _, err := format.ParseKey(text)
		return k, err == nil
	case len("{}") + format.TextLen:
		// Package uuid takes any character for a brace.
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
