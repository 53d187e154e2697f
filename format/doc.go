// Package format is the layout of a generation file: the records of one
// promotions table, sorted by id, immutable and checksummed. It turns text
// into records and back, writes files through an io.WriterAt, and reads and
// verifies them through an io.ReaderAt. It touches no file system.
//
// # Specification, version 1
//
// All numbers are unsigned and big-endian. A file is five regions without
// gaps; n is the number of records and b = ceil(n / 128) the number of blocks.
//
//	offset          | size    | region
//	0               | 4096    | header
//	4096            | b·4096  | blocks
//	4096 + b·4096   | b·16    | fences: the id of the first record of each block
//	… + b·16        | b·4     | checksums: the CRC32C of each block
//	… + b·4         | t       | trailer; it ends where the file ends
//
// Every checksum is a CRC32C (Castagnoli, RFC 3720 appendix B.4).
//
// Header:
//
//	offset | size | field
//	0      | 8    | magic "PROMOGEN"
//	8      | 4    | version, 1
//	12     | 4    | record length in bytes, 32
//	16     | 4    | block length in bytes, 4096
//	20     | 4    | shard, counted from 0
//	24     | 4    | number of shards, 1 to 99999
//	28     | 4    | zero
//	32     | 8    | records, n, at most 2^40
//	40     | 8    | rows of the input: records + duplicates + bad rows
//	48     | 8    | duplicates: rows that gave way to another of the same id
//	56     | 8    | bad rows that the build was told to tolerate
//	64     | 8    | generation: when it was made, in milliseconds since 1970 UTC, before the year 10000
//	72     | 16   | id of the first record; zero if there is none
//	88     | 16   | id of the last record; zero if there is none
//	104    | 8    | length of the file in bytes
//	112    | 3980 | zero
//	4092   | 4    | checksum of bytes 0 to 4091
//
// A reader looks at magic, version, record length and block length before it
// looks at anything else, so that a file of another version is told from a
// damaged one.
//
// Block: up to 128 records in strictly ascending order of their ids. Every
// block but the last is full; the last is filled up with zeros. The blocks of
// a file are one ascending sequence. A block is one page of 4 KiB, so a lookup
// in a cold file reads one page.
//
// Record:
//
//	offset | size | field
//	0      | 16   | id
//	16     | 8    | price
//	24     | 8    | expiry
//
// Price: bit 63 is the sign, bits 62 to 0 the digits of the price without its
// point, below 10^16. The point stands scale digits from the right (see
// expiry), so that 9.680 stays 9.680. A zero may carry the sign.
//
// Expiry, from the high bit:
//
//	bits     | field
//	63 to 25 | wall clock: seconds since 0000-01-01 00:00:00, proleptic Gregorian, below 10000-01-01
//	24 to 9  | zone: an index into the dictionary of zones
//	8 to 6   | zero
//	5 to 1   | scale of the price, 0 to 16
//	0        | the id was written in upper case
//
// Trailer:
//
//	offset | size | field
//	0      | 4    | checksum of the fences
//	4      | 4    | checksum of the checksums
//	8      | 4    | number of zones, at most 65536
//	12     | 4    | length of the zones in bytes, z
//	16     | z    | zones, in ascending order of their bytes, each once
//	16 + z | 4    | checksum of bytes 0 to 15 + z of the trailer
//
// TimestampStyle:
//
//	offset | size | field
//	0      | 1    | layout of the date: 0 "2006-01-02 15:04:05", 1 the same with " -0700 MST",
//	       |      | 2 with " -0700", 3 "2006-01-02T15:04:05Z", 4 "2006-01-02T15:04:05-07:00"
//	1      | 1    | 1 if the offset was written with a minus, else 0; zero in layouts 0 and 3
//	2      | 2    | offset from UTC in minutes, without its sign, below 1440; zero in layouts 0 and 3
//	4      | 1    | length of the abbreviation in bytes, 1 to 63 in layout 1, else 0
//	5      | …    | abbreviation: UTF-8 letters, or a sign and two or four digits
//
// # What it does not promise
//
// The checksums find damage, not intent: they are no signature. A file that
// is changed after it was opened is not noticed by Index; see package reader.
// Version 1 keeps no fractions of a second and no price of more than 16
// digits; the text parsers refuse both.
package format
