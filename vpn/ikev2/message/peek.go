package message

import "encoding/binary"

// Peek finds the COOKIE notification's data and the nonce of an IKE_SA_INIT request without allocating anything: what
// is looked at before a sender has proven where it is. nonce is nil when the message cannot be right.
func Peek(b []byte) (cookie, nonce []byte) {
	h, err := DecodeHeader(b)
	if err != nil {
		return nil, nil
	}
	next, at := h.NextPayload, HeaderLen
	for count := 0; next != TypeNone && count < MaxPayloads; count++ {
		if len(b)-at < genericLen {
			return nil, nil
		}
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		if n < genericLen || n > len(b)-at {
			return nil, nil
		}
		body := b[at+genericLen : at+n]
		switch next {
		case TypeNonce:
			if nonce != nil || len(body) < 16 || len(body) > 256 {
				return nil, nil
			}
			nonce = body
		case TypeNotify:
			if len(body) >= 4 && NotifyType(binary.BigEndian.Uint16(body[2:])) == COOKIE && len(body) >= 4+int(body[1]) {
				cookie = body[4+int(body[1]):]
			}
		}
		next = PayloadType(b[at])
		at += n
	}
	return cookie, nonce
}
