// Package learned predicts where in a sorted file of records a key is.
//
// A Model is a learned index: a small function, fitted to the keys of one file,
// that maps a key to its rank, the number of records before it. A caller
// predicts the rank and searches a window of records around it: a single read
// replaces a binary search, each step of which waits for memory. Predictions
// have no guaranteed error bound, so the caller compares keys, corrects the
// window, and falls back to the fences of the file for the rest. The package
// reads no file and starts no goroutine.
//
// # One segment
//
// A model covers the keys from the fence of the second block up to that of the
// last, so outliers in the first and last block do no harm. It scales these
// keys to 64 bits and cuts that axis into segments of equal width. A segment is
// one cache line of 64 bytes: the rank at its start, the number of its records,
// and at each of 56 knots a residual of one byte, −128 to 127.
//
//	rank
//	  │                                                   ● rank at start + number of records
//	  │                                               ·   │
//	  │                                           ·   ○   │
//	  │                                       ·           │
//	  │                                   ·   ○ knot      │
//	  │                           ▒   ·                   │
//	  │                       ○   ▒   ○                   │
//	  │               ○       ·   ▒ window of 8 records   │
//	  │                   ·         around the prediction │
//	  │       ○       ·           ┆                       │
//	  │       │ residual          ┆                       │
//	  │       ·                   ┆                       │
//	  │   ·                       ┆                       │
//	  ● rank at start             ┆                       │
//	  └───────┬───────┬───────┬───┴───┬───────┬───────┬───┴─▶ scaled key
//	   knots at equal steps       └ key
//
// The dots are the straight line of the segment. A prediction is the line at
// the key, plus the residuals of the two knots around it, interpolated.
//
// A model trained from records has 1,024 records per segment on average, so it
// takes 1/16 byte per record and has a knot every 18.6 records. Where keys are
// uniform, the error has a root mean square of the square root of a sixth of
// that, 1.7 records. A model trained from fences alone, before any block is
// read, has 4,096 records per segment and takes 1/64 byte per record.
//
// A model from records also has a coarse model of at most 128 KiB: the rank at
// the start of every few segments. It stays in a cache, so it predicts the page
// of a record while the segment is still on its way from memory.
//
// # Measured error
//
// Distance in records from the predicted to the true rank, and the share of
// keys in the first window, of 10 million keys (BenchmarkPredict):
//
//	                 from records            from fences
//	keys          mean  max  in window    mean  max  in window
//	v4            1.4   13     96 %       3.7   59     62 %
//	v7            4.8   15     48 %       7.8   24     25 %
//	sequential    0.8    1    100 %       1.0   34    100 %
//	same prefix   1.4   11     96 %       3.7   28     62 %
//
// The v7 keys come 16 a millisecond, so their ranks rise in steps between the
// knots. The second window has all but 3 % of them, and nearly all of the other
// keys.
//
// # Related work
//
// Kraska, Beutel, Chi, Dean and Polyzotis introduced learned indexes in "The
// Case for Learned Index Structures", SIGMOD 2018. RadixSpline (Kipf et al.,
// aiDM 2020) also trains in one pass over sorted keys and interpolates between
// knots; the PGM-index (Ferragina and Vinciguerra, PVLDB 13(8), 2020) also
// consists of linear segments. Both place their knots where the data demands it,
// guarantee an error bound, and search for the segment of a key. Here segments
// are equally wide, so finding one is a multiplication, and a prediction reads
// one cache line. The price is the bound: clusters of keys narrower than a knot
// step get poor predictions.
package learned
