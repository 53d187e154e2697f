package web

import (
	"time"

	"promostore/format/generation"
)

// A PinStatus is the part of the JSON body of /status that describes the pin to
// operators. It is not for every client: it names a person, and the error has a
// path.
type PinStatus struct {
	By       string     `json:"by,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	At       *time.Time `json:"at,omitempty"`        // time of the pin, or of its removal
	PinError string     `json:"pin_error,omitempty"` // the pin exists and cannot be read
}

// PinStatusOf describes a pin, or the error of reading it.
func PinStatusOf(pin generation.Pin, err error) PinStatus {
	if err != nil {
		return PinStatus{PinError: err.Error()}
	}
	st := PinStatus{By: pin.By, Reason: pin.Reason}
	if !pin.At.IsZero() {
		st.At = &pin.At
	}
	return st
}
