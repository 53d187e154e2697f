package reader

import "promostore/format"

// VerifyKey reads the block that has the record of key, if any has, and checks
// it as Verify does. It is for a file that was not verified: together with Get
// it makes certain that a record is the one that was written, or is not there.
func (f *File) VerifyKey(key format.Key) error {
	x := f.index
	if x.Records == 0 || key.Less(x.MinKey) || x.MaxKey.Less(key) {
		return nil // says the header, which was checked
	}
	return x.VerifyBlock(f.file, int64(f.fences.block(key)))
}
