package updater

import (
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Names of files that are no data sets, in lower case. docs/operations.md lists
// them for users.
var (
	// ignoredExtensions follow the last point of a name.
	ignoredExtensions = set(
		// Incomplete files of programs that write or transfer files.
		"tmp temp part partial filepart crdownload download opdownload aria2 gstmp _copying_ incomplete inprogress uploading writing !ut",
		// Copies and lock files of editors.
		"bak backup old orig save swp swo swn swx lock lck",
		// Signs that another file is complete.
		"done ok ready complete completed finished fin success flag trg trigger sem ctl eof mark marker",
		// Checksums, signatures and descriptions of other files.
		"md5 md5sum sha sha1 sha1sum sha224 sha224sum sha256 sha256sum sha384 sha384sum sha512 sha512sum b2 b2sum b3 blake2b blake3 xxh xxh64 xxh128 crc crc32 crc32c sfv sum",
		"asc sig sign minisig p7s manifest metadata meta",
	)

	// ignoredNames are whole names.
	ignoredNames = set(
		"manifest manifest.json manifest.csv manifest.txt metadata.json md5sums sha1sums sha256sums sha512sums checksums checksums.txt",
		"done ok ready complete success thumbs.db ehthumbs.db desktop.ini readme readme.txt readme.md",
	)
)

func set(words ...string) map[string]bool {
	m := map[string]bool{}
	for _, line := range words {
		for w := range strings.FieldsSeq(line) {
			m[w] = true
		}
	}
	return m
}

// IsDataSetName reports whether a file of this name can be a data set. It returns
// false for the names of incomplete files and of files about other files, in any
// case of letters.
func IsDataSetName(name string) bool {
	name = strings.ToLower(name)
	if name == "" || strings.ContainsRune("._~#", rune(name[0])) || strings.HasSuffix(name, "~") || strings.HasSuffix(name, "#") {
		return false
	}
	if ignoredNames[name] || strings.HasSuffix(name, "_manifest") || strings.HasSuffix(name, "-manifest.csv") {
		return false
	}
	parts := strings.Split(name, ".")[1:]
	if len(parts) == 0 {
		return true
	}
	last := parts[len(parts)-1]
	// NAME.tmp.123 and NAME.tmp.csv are temporary too.
	return !ignoredExtensions[last] && !isRandom(last) && !slices.Contains(parts, "tmp") && !slices.Contains(parts, "temp")
}

// isRandom reports whether ext is eight random hexadecimal digits, which aws s3
// appends while it downloads. Digits alone are a date.
func isRandom(ext string) bool {
	return len(ext) == 8 && strings.Trim(ext, "0123456789abcdef") == "" && strings.ContainsAny(ext, "abcdef")
}

// CheckInboxMatch returns an error if pattern is not valid as
// Options.InboxMatch.
func CheckInboxMatch(pattern string) error {
	if strings.Contains(pattern, "/") {
		return fmt.Errorf("pattern %q: the name of a file contains no slash", pattern)
	}
	// The longest valid beginning of a bad pattern precedes the bad element.
	valid := len(pattern)
	for ; valid > 0 && !isPattern(pattern[:valid]); valid-- {
	}
	if valid == len(pattern) {
		return nil
	}
	advice := "[, begins no set such as [0-9]; write [[] for the character itself"
	if pattern[valid] != '[' {
		advice = `\, precedes no character; write two of them`
	}
	return fmt.Errorf("pattern %q: character %d, %s", pattern, utf8.RuneCountInString(pattern[:valid])+1, advice)
}

func isPattern(s string) bool {
	_, err := path.Match(s, "")
	return err == nil
}

// maxName limits the name of a taken file, in bytes. It leaves room for the
// prefixes and suffixes of the states: a file system allows 255.
const maxName = 200

// takenName returns the name that a file gets when it is taken: its own, or its
// beginning, a checksum and its end if it is longer than maxName. Both ends still
// match the patterns of the operator.
func takenName(name string) string {
	if len(name) <= maxName {
		return name
	}
	const end = 50
	sum := fmt.Sprintf("~%x", sha256.Sum256([]byte(name)))[:1+16] + "~"
	head, tail := name[:maxName-len(sum)-end], name[len(name)-end:]
	return strings.ToValidUTF8(head, "") + sum + strings.ToValidUTF8(tail, "")
}
