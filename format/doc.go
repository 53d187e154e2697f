// Package format defines the layout of a generation file: the records of one
// data set of promotions, sorted by id, immutable and checksummed. It parses
// and prints ids, prices and dates, writes files through an io.WriterAt, and
// reads and verifies them through an io.ReaderAt. It does not use the file
// system.
//
// # Specification, versions 1 and 2
//
// Version 2 adds the layouts 5 and 6 and the zeros of timestamp styles. A file has
// version 2 if one of its styles needs it, and version 1 otherwise, so that
// programs that know only version 1 read all other files. They refuse a file of
// version 2.
//
// All numbers are unsigned and big-endian. A file consists of five regions
// without gaps. In the tables, n is the number of records and
// b = ceil(n / 128) the number of blocks.
//
//	offset          | size    | region    | meaning
//	0               | 4096    | header    | counts, key range and length
//	4096            | b·4096  | blocks    | the records
//	4096 + b·4096   | b·16    | fences    | the id of the first record of each block
//	… + b·16        | b·4     | checksums | the checksum of each block
//	… + b·4         | t       | trailer   | checksums of two regions and the dictionary of styles
//
// The trailer ends at the end of the file. Every checksum is a CRC32C
// (Castagnoli, RFC 3720 appendix B.4).
//
// Header:
//
//	offset | size | field           | meaning
//	0      | 8    | magic           | "PROMOGEN"
//	8      | 4    | version         | 1 or 2
//	12     | 4    | record length   | 32 bytes
//	16     | 4    | block length    | 4096 bytes
//	20     | 4    | shard           | number of this shard, counted from 0
//	24     | 4    | shards          | number of shards: 1, or a power of two from 16 to 4096
//	28     | 4    | sharding rule   | 0: one shard; 1: by the last bits of the id; 2: by the first
//	32     | 8    | records         | n, at most 2^40
//	40     | 8    | rows            | rows of the input: records + duplicates + bad rows
//	48     | 8    | duplicates      | rows replaced by another row with the same id
//	56     | 8    | bad rows        | rows that could not be parsed and were tolerated
//	64     | 8    | generation      | time of creation in milliseconds since 1970 UTC, before the year 10000
//	72     | 16   | first id        | id of the first record; zero without records
//	88     | 16   | last id         | id of the last record; zero without records
//	104    | 8    | file length     | bytes
//	112    | 3980 | reserved        | zero
//	4092   | 4    | header checksum | of bytes 0 to 4091
//
// Sharding: the records of a generation are in one file, or divided into files by
// log2(shards) bits of their ids, which are the number of the shard: the lowest
// bits with rule 1, the highest with rule 2. All files of a generation have the
// same number of shards, rule, generation and dictionary. The counts of a header
// are those of its shard, and bad rows are counted in shard 0, so that the counts
// of a generation are the sums over its files.
//
// A reader checks magic, version, record length and block length before
// anything else, to distinguish a file of another version from a damaged one.
//
// Block: up to 128 records in strictly ascending order of their ids. Every
// block except the last is full; zeros fill up the last. The records of
// consecutive blocks form one ascending sequence. A block is one page of 4 KiB,
// so that a lookup in a file that is not in memory reads one page.
//
// Record:
//
//	offset | size | field  | meaning
//	0      | 16   | id     | the 128 bits of the UUID
//	16     | 8    | price  | see below
//	24     | 8    | expiry | see below
//
// Price, from the high bit:
//
//	bits    | field  | meaning
//	63      | sign   | 1: written with a minus; a zero may have one
//	62 to 0 | digits | the price without its point, below 10^16: bits 62 to 54 are zero
//
// The point stands scale digits from the right, see expiry. 9.680 is stored as
// 9680 with a scale of 3, so it stays 9.680. Of a price with more than 16 digits
// or decimals, the zeros at its end are in the timestamp style instead: the style
// of 9.680000000000000000 has 3 zeros, and the record 9680000000000000 with a
// scale of 15.
//
// Expiry, from the high bit:
//
//	bits     | field      | meaning
//	63 to 25 | wall clock | seconds since 0000-01-01 00:00:00, proleptic Gregorian, below 10000-01-01
//	24 to 9  | style      | index into the dictionary of timestamp styles
//	8 to 6   | reserved   | zero
//	5 to 1   | scale      | decimals of the price, 0 to 16
//	0        | upper case | 1: the id was written in upper case
//
// Trailer:
//
//	offset | size | field              | meaning
//	0      | 4    | fences checksum    | of the region of the fences
//	4      | 4    | checksums checksum | of the region of the checksums
//	8      | 4    | styles             | number of timestamp styles, at most 65536
//	12     | 4    | length of styles   | z, in bytes
//	16     | z    | dictionary         | timestamp styles, in ascending order of their bytes, each once
//	16 + z | 4    | trailer checksum   | of bytes 0 to 15 + z of the trailer
//
// Timestamp style:
//
//	offset | size | field               | meaning
//	0      | 1    | layout              | see below
//	1      | 1    | sign and zeros      | see below
//	2      | 2    | minutes             | offset from UTC without its sign, below 1440; zero without an offset
//	4      | 1    | abbreviation length | bytes, 1 to 63 in layouts 1, 5 and 6, else 0
//	5      | …    | abbreviation        | layout 1: UTF-8 letters, or a sign and two or four digits; layouts 5 and 6: the suffix
//
// Sign and zeros, from the high bit:
//
//	bits   | field | meaning
//	7 to 1 | zeros | zeros after the digits of the price and after its point, at most 63; zero in version 1
//	0      | sign  | 1: the offset was written with a minus; zero without an offset
//
// Layout, in the notation of package time:
//
//	value | layout
//	0     | 2006-01-02 15:04:05
//	1     | 2006-01-02 15:04:05 -0700 MST
//	2     | 2006-01-02 15:04:05 -0700
//	3     | 2006-01-02T15:04:05Z
//	4     | 2006-01-02T15:04:05-07:00
//	5     | 2006-01-02 15:04:05 and the suffix; version 2
//	6     | 2006-01-02T15:04:05 and the suffix; version 2
//
// A suffix is the text after the seconds: a fraction, a zone, or both; layout 6
// needs a zone. A fraction is a point and one to nine zeros. The zones are:
//
//	layout | zone
//	5      | Z, z, -07, -0700, -07:00
//	5      | a blank and Z, UTC, GMT, -0700 or -07:00
//	5      | a blank, -0700 or -07:00, a blank and an abbreviation of layout 1
//	6      | Z, z, -07, -0700, -07:00
//
// Sign and minutes repeat the offset of the suffix; Z, UTC and GMT have none. A
// suffix that makes a timestamp of the layouts 0 to 4 is not allowed, so each
// text has one encoding.
//
// # Limits
//
// The checksums detect damage, not intent: they are not a signature. An Index
// does not notice that its file changes after Open; package reader does.
// No version stores fractions of a second other than zeros, or a price of more
// than 16 digits without the zeros at its end; the parsers reject both.
package format
