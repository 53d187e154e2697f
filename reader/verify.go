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
	var err error
	block := f.fences.block(key, func(block int64) bool {
		var b [format.KeyLen]byte
		if _, e := f.file.ReadAt(b[:], x.FenceOff(block)); e != nil {
			err = readError(x.FenceOff(block), e)
		}
		return key.Less(format.KeyAt(b[:]))
	})
	if err != nil {
		return err
	}
	return x.VerifyBlock(f.file, block)
}
