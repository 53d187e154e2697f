package format

import "hash/crc32"

// Magic is the first eight bytes of every generation file.
const Magic = "PROMOGEN"

// Versions of the format, newest last.
const (
	version1 = 1 // 2026-11: 32-byte records, 16-byte fences, timestamp styles in the trailer
	version2 = 2 // 2026-11: timestamp styles with a suffix, and with zeros of the price

	// Version is the highest version. Open accepts all versions, and Writer writes
	// the lowest that can express the file, so that older programs read it.
	Version = version2
)

// Lengths in bytes, and limits.
const (
	KeyLen          = 16                   // an id, without its dashes
	RecordLen       = KeyLen + 8 + 8       // id, price, expiry
	BlockLen        = 4096                 // one page, so that a cold lookup reads one
	RecordsPerBlock = BlockLen / RecordLen // 128
	HeaderLen       = 4096                 // a page, so that blocks are page-aligned
	ChecksumLen     = 4                    // one CRC32C

	MaxRecords  = 1 << 40 // so that no offset overflows an int64
	MaxStyles   = 1 << 16 // the index of a style has 16 bits
	MaxScale    = 16      // decimals of a price
	MaxDigits   = 16      // digits of a price, without leading zeros of its integer part
	digitsEnd   = 1e16    // the smallest number with more than MaxDigits digits
	MaxZeros    = 63      // zeros of a price after its MaxDigits digits
	MaxTags     = 1 << 9  // tags of records outside a file
	maxAbbrLen  = 63      // bytes of the abbreviation or suffix in a timestamp style
	maxFraction = 9       // digits of a fraction of a second

	// MaxGeneration is 9999-12-31T23:59:59.999Z in milliseconds since 1970
	// UTC, the last instant that fits into a file name.
	MaxGeneration = 253402300799999
)

// Offsets in the header.
const (
	magicOff      = 0
	versionOff    = magicOff + len(Magic)
	recordLenOff  = versionOff + 4
	blockLenOff   = recordLenOff + 4
	shardOff      = blockLenOff + 4
	shardsOff     = shardOff + 4
	shardRuleOff  = shardsOff + 4
	recordsOff    = shardRuleOff + 4
	rowsOff       = recordsOff + 8
	duplicatesOff = rowsOff + 8
	badRowsOff    = duplicatesOff + 8
	generationOff = badRowsOff + 8
	minKeyOff     = generationOff + 8
	maxKeyOff     = minKeyOff + KeyLen
	fileLenOff    = maxKeyOff + KeyLen
	headerEndOff  = fileLenOff + 8
	headerSumOff  = HeaderLen - ChecksumLen
)

// Offsets in a record.
const (
	keyOff    = 0
	priceOff  = keyOff + KeyLen
	expiryOff = priceOff + 8
)

// Shifts and masks in the price and expiry words of a record.
const (
	signBit      = 1 << 63
	tagShift     = 54 // digits are below 1<<tagShift
	tagMask      = MaxTags - 1
	upperBit     = 1
	scaleShift   = 1
	scaleMask    = 1<<5 - 1
	spareMask    = 7 << 6
	styleShift   = 9
	styleMask    = 1<<16 - 1
	secondsShift = 25
)

// Offsets in the trailer.
const (
	fencesSumOff    = 0
	checksumsSumOff = fencesSumOff + ChecksumLen
	numStylesOff    = checksumsSumOff + ChecksumLen
	stylesLenOff    = numStylesOff + 4
	stylesOff       = stylesLenOff + 4

	styleHeadLen  = 5 // layout, sign, minutes, length
	maxStylesLen  = MaxStyles * (styleHeadLen + maxAbbrLen)
	minTrailerLen = stylesOff + ChecksumLen

	zerosShift = 1 // in the second byte of a style, above the sign
)

// These lengths are part of the format. A change needs a new version.
var (
	_ [32 - RecordLen]struct{}
	_ [RecordLen - 32]struct{}
	_ [128 - RecordsPerBlock]struct{}
	_ [RecordsPerBlock - 128]struct{}
	_ [112 - headerEndOff]struct{}
	_ [headerEndOff - 112]struct{}
)

const _ = uint(1<<tagShift - digitsEnd) // not negative

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC32C of b.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// regions holds the offsets of the regions of a file of numBlocks blocks.
type regions struct {
	numBlocks                           int64
	fencesOff, checksumsOff, trailerOff int64
}

func regionsOf(records uint64) regions {
	var g regions
	g.numBlocks = int64((records + RecordsPerBlock - 1) / RecordsPerBlock)
	g.fencesOff = BlockOff(g.numBlocks)
	g.checksumsOff = g.fencesOff + g.numBlocks*KeyLen
	g.trailerOff = g.checksumsOff + g.numBlocks*ChecksumLen
	return g
}

// BlockOff returns the offset in the file of the block with this number.
func BlockOff(block int64) int64 { return HeaderLen + block*BlockLen }
