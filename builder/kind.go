package builder

import (
	"bytes"
	"strings"

	"promostore/format"
)

// A KindError reports an input that is not a CSV but a file of another kind.
type KindError struct {
	Kind    string // such as "zip archive"
	Command string // a shell command that prints FILE as a CSV; empty if there is none
	Advice  string // instead of Command; may be empty
}

func (e *KindError) Error() string {
	text := e.Kind + ", not a CSV"
	switch {
	case e.Command != "":
		return text + "; convert it: " + e.Command
	case e.Advice != "":
		return text + "; " + e.Advice
	}
	return text
}

// A fileKind is a kind of files that are not CSVs.
type fileKind struct {
	name    string
	at      int    // offset of magic
	magic   string // the first bytes
	filter  string // shell command that reads the file from standard input and prints a CSV
	command string // instead of filter: with FILE
	advice  string // instead of command
}

// fileKinds lists the kinds whose first bytes no row and no header has.
var fileKinds = []fileKind{
	{name: "generation file", magic: format.Magic, command: "promobuild dump FILE"},
	{name: "xz data", magic: "\xFD7zXZ\x00", filter: "xz -dc"},
	{name: "lzip data", magic: "LZIP\x01", filter: "lzip -dc"},
	{name: "lzma data", magic: "\x5D\x00\x00", filter: "xz -dc --format=lzma"},
	{name: "bzip2 data", at: 4, magic: "1AY&SY", filter: "bzip2 -dc"},
	{name: "bzip2 data", at: 4, magic: "\x17rE8P\x90", filter: "bzip2 -dc"},
	{name: "lz4 data", magic: "\x04\x22\x4D\x18", filter: "lz4 -dc"},
	{name: "lz4 data", magic: "\x02\x21\x4C\x18", filter: "lz4 -dc"},
	{name: "lzop data", magic: "\x89LZO\x00", filter: "lzop -dc"},
	{name: "snappy data", magic: "\xFF\x06\x00\x00sNaPpY", advice: "decompress it, or compress it with gzip or zstd"},
	{name: "compress data", magic: "\x1F\x9D", filter: "gzip -dc"},
	{name: "zlib data", magic: "\x78\x01", filter: "pigz -dc"},
	{name: "zlib data", magic: "\x78\x5E", filter: "pigz -dc"},
	{name: "zlib data", magic: "\x78\x9C", filter: "pigz -dc"},
	{name: "zlib data", magic: "\x78\xDA", filter: "pigz -dc"},
	{name: "gzip data", magic: "\x1F\x8B", filter: "gzip -dc"}, // within other compressed data
	{name: "zstd data", magic: "\x28\xB5\x2F\xFD", filter: "zstd -dc"},
	{name: "7z archive", magic: "7z\xBC\xAF\x27\x1C", command: "7z x -so FILE"},
	{name: "rar archive", magic: "Rar!\x1A\x07", command: "unrar p -inul FILE"},
	{name: "tar archive", at: 257, magic: "ustar", filter: "tar -xOf -"},
	{name: "empty zip archive", magic: "PK\x05\x06"},
	{name: "Parquet file", magic: "PAR1", command: `duckdb -csv -c "SELECT id, price, expiration_date FROM read_parquet('FILE')"`},
	{name: "Arrow file", magic: "ARROW1\x00\x00", advice: "write it as a CSV, for example with pyarrow.csv.write_csv"},
	{name: "Feather file", magic: "FEA1", advice: "write it as a CSV, for example with pyarrow.csv.write_csv"},
	{name: "ORC file", magic: "ORC", advice: "write a CSV from the program that made it"},
	{name: "Avro file", magic: "Obj\x01", command: `duckdb -csv -c "SELECT id, price, expiration_date FROM read_avro('FILE')"`},
	{name: "SQLite database", magic: "SQLite format 3\x00", command: "sqlite3 -csv FILE 'SELECT id, price, expiration_date FROM TABLE'"},
	{name: "PostgreSQL dump", magic: "PGDMP", advice: "COPY … TO STDOUT (FORMAT csv) writes a CSV"},
	{name: "binary PostgreSQL copy", magic: "PGCOPY\n\xFF\r\n\x00", advice: "COPY … TO STDOUT (FORMAT csv) writes a CSV"},
	{name: "Excel workbook", magic: "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", command: "soffice --headless --convert-to csv FILE"},
	{name: "PDF document", magic: "%PDF-"},
	{name: "encrypted file", magic: "Salted__", advice: "decrypt it with openssl enc -d"},
	{name: "encrypted file", magic: "age-encryption.org/", command: "age -d FILE"},
	{name: "encrypted file", magic: "-----BEGIN PGP MESSAGE", command: "gpg -d FILE"},
	{name: "UTF-32 text", magic: "\xFF\xFE\x00\x00", filter: "iconv -f UTF-32 -t UTF-8"},
	{name: "UTF-32 text", magic: "\x00\x00\xFE\xFF", filter: "iconv -f UTF-32 -t UTF-8"},
	{name: "UTF-16 text", magic: "\xFF\xFE", filter: "iconv -f UTF-16 -t UTF-8"},
	{name: "UTF-16 text", magic: "\xFE\xFF", filter: "iconv -f UTF-16 -t UTF-8"},
}

// checkKind returns a *KindError if an input that begins with b is not a CSV.
// within is the compression of the input, or empty.
func checkKind(b []byte, within string) error {
	k, ok := kindOf(b)
	if !ok {
		return nil
	}
	e := &KindError{Kind: k.name, Command: k.command, Advice: k.advice}
	if k.filter != "" {
		e.Command = k.filter + " <FILE"
	}
	if within == "" {
		return e
	}
	e.Kind += " within " + within + " data"
	switch {
	case k.filter != "":
		e.Command = within + " -dc <FILE | " + k.filter
	case k.command != "":
		e.Command, e.Advice = "", "decompress it first: "+within+" -dc <FILE >OTHER"
	}
	return e
}

// StartLen is the number of bytes at the start of an input that CheckStart needs.
const StartLen = maxHead

// CheckStart reports whether an input that begins with b is compressed. The error is
// a *KindError if the input is not a CSV.
func CheckStart(b []byte) (compressed bool, err error) {
	if isGzip(b) || isZstd(b) {
		return true, nil
	}
	return false, checkKind(b, "")
}

// kindOf returns the kind of a file that begins with b. ok is false if it can be
// a CSV.
func kindOf(b []byte) (k fileKind, ok bool) {
	if bytes.HasPrefix(b, []byte("PK\x03\x04")) {
		return zipKind(b), true
	}
	for _, k := range fileKinds {
		if len(b) > k.at && bytes.HasPrefix(b[k.at:], []byte(k.magic)) && !(isLetters(k.magic) && isText(b)) {
			return k, true
		}
	}
	if le, be := zerosAt(b, 1), zerosAt(b, 0); len(b) >= 4 && (le || be) {
		switch {
		case le && be:
			return fileKind{name: "zero bytes", advice: "the file was not written to its end"}, true
		case le:
			return fileKind{name: "UTF-16 text", filter: "iconv -f UTF-16LE -t UTF-8"}, true
		}
		return fileKind{name: "UTF-16 text", filter: "iconv -f UTF-16BE -t UTF-8"}, true
	}
	if head := b[:min(len(b), maxHead)]; !bytes.Contains(head, []byte{'\n'}) && isText(b) {
		if i := bytes.IndexByte(head, '\r'); i >= 0 && len(bytes.Trim(head[i:], "\r")) > 0 {
			return fileKind{name: "text with CR as its only line end", filter: `tr '\r' '\n'`}, true
		}
	}
	return fileKind{}, false
}

// maxHead is the number of bytes at the start of an input that a line of a CSV
// does not exceed, and that checkKind looks at.
const maxHead = 4 << 10

// zipKind returns the kind of a zip archive, according to the name and the
// content of its first file.
func zipKind(b []byte) fileKind {
	switch head := b[:min(len(b), maxHead)]; {
	case bytes.Contains(head, []byte("[Content_Types].xml")), bytes.Contains(head, []byte("xl/")):
		return fileKind{name: "Excel workbook", command: "soffice --headless --convert-to csv FILE"}
	case bytes.Contains(head, []byte("vnd.oasis.opendocument")):
		return fileKind{name: "OpenDocument file", command: "soffice --headless --convert-to csv FILE"}
	}
	return fileKind{name: "zip archive", command: "unzip -p FILE"}
}

// zerosAt reports whether every second byte at the start of b is zero, from i on.
func zerosAt(b []byte, i int) bool {
	for b = b[:min(len(b), 64)]; i < len(b); i += 2 {
		if b[i] != 0 {
			return false
		}
	}
	return true
}

// isLetters reports whether a magic could begin the name of a column.
func isLetters(magic string) bool {
	return !strings.ContainsFunc(magic, func(r rune) bool {
		return !('0' <= r && r <= '9' || 'A' <= r&^0x20 && r&^0x20 <= 'Z')
	})
}

// isText reports whether the start of b has no control characters except for
// blanks and line ends.
func isText(b []byte) bool {
	for _, c := range b[:min(len(b), 256)] {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// textKind returns a *KindError if text that begins with b is known not to be a
// CSV. Unlike checkKind it is only called if no row of b is good.
func textKind(b []byte) error {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n")
	head := bytes.ToLower(b[:min(len(b), maxHead)])
	has := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if bytes.HasPrefix(head, []byte(p)) {
				return true
			}
		}
		return false
	}
	switch {
	case has("<!doctype html", "<html", "<head", "<body") || has("<") && bytes.Contains(head, []byte("<html")):
		return &KindError{Kind: "HTML page", Advice: "download the CSV itself; this may be an error page or a login page"}
	case has("<"):
		return &KindError{Kind: "XML document", Advice: "write a CSV from the program that made it; this may be an error message"}
	case has("["):
		return &KindError{Kind: "JSON array", Command: "jq -r '.[] | [.id, .price, .expiration_date] | @csv' FILE"}
	case has("{\"", "{}") || has("{") && bytes.HasPrefix(bytes.TrimLeft(head[1:], " \t\r\n"), []byte{'"'}): // not an id in braces
		return &KindError{Kind: "JSON text", Command: "jq -r '[.id, .price, .expiration_date] | @csv' FILE"}
	case has("insert into", "create table", "-- mysql dump", "-- mariadb dump", "--\n-- postgresql", "copy "):
		return &KindError{Kind: "SQL script", Advice: "write a CSV from the database"}
	case has("-[ record") || isRuler(secondLine(head)):
		return &KindError{Kind: "table of psql", Advice: "write a CSV: COPY (SELECT id, price, expiration_date FROM TABLE) TO STDOUT (FORMAT csv)"}
	case has("+--", "**********"):
		return &KindError{Kind: "table of mysql", Advice: "write the rows with mysql --batch, and build them with a tab as the delimiter"}
	case has("version https://git-lfs"):
		return &KindError{Kind: "pointer of Git LFS", Advice: "git lfs pull gets the file"}
	case isBinary(b):
		return &KindError{Kind: "binary data", Advice: "write a CSV from the program that made it"}
	}
	return nil
}

// secondLine returns the second line of b, without blanks around it.
func secondLine(b []byte) []byte {
	_, rest, _ := bytes.Cut(b, []byte{'\n'})
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	return bytes.TrimSpace(line)
}

// isRuler reports whether line is the one below the names of columns that psql
// prints, such as ----+-------.
func isRuler(line []byte) bool {
	return bytes.Contains(line, []byte("-+-")) && len(bytes.Trim(line, "+-")) == 0
}

// isBinary reports whether the start of b has a zero byte, or more control
// characters than a text with some of them as delimiters.
func isBinary(b []byte) bool {
	b = b[:min(len(b), maxHead)]
	n := 0
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			n++
		}
	}
	return n > len(b)/20 || bytes.IndexByte(b, 0) >= 0
}
