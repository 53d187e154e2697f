package httpd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// cacheDirectives are the directives of a response (RFC 9111, section 5.2.2; RFC
// 5861; RFC 8246). Those that need seconds are true.
var cacheDirectives = map[string]bool{
	"immutable":              false,
	"max-age":                true,
	"must-revalidate":        false,
	"must-understand":        false,
	"no-cache":               false,
	"no-store":               false,
	"no-transform":           false,
	"private":                false,
	"proxy-revalidate":       false,
	"public":                 false,
	"s-maxage":               true,
	"stale-if-error":         true,
	"stale-while-revalidate": true,
}

// CheckCacheControl returns an error if value is not a list of directives for
// Options.CacheControl, such as "public, max-age=60".
func CheckCacheControl(value string) error {
	var seen []string
	for directive := range strings.SplitSeq(value, ",") {
		name, argument, hasArgument := strings.Cut(strings.Trim(directive, " "), "=")
		lower := strings.ToLower(name)
		needsSeconds, known := cacheDirectives[lower]
		switch {
		case !known:
			return fmt.Errorf("unknown directive %q; write a list such as \"public, max-age=60\"", name)
		case slices.Contains(seen, lower):
			return fmt.Errorf("directive %s twice", name)
		case needsSeconds:
			if _, err := strconv.ParseUint(argument, 10, 31); err != nil {
				return fmt.Errorf("directive %s needs seconds, such as %s=60", name, lower)
			}
		case hasArgument:
			return fmt.Errorf("directive %s has no argument", name)
		}
		seen = append(seen, lower)
	}
	return nil
}
