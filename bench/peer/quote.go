package peer

import "strings"

// quote is s as a string of SQL, as long as it has no backslash.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
