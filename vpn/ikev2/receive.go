package ikev2

import (
	"encoding/binary"
	"fmt"
	"time"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// parts are the payloads of a message by kind.
type parts struct {
	exchange message.ExchangeType
	sa       *message.SA
	ke       *message.KE
	nonce    *message.Nonce
	idi, idr *message.ID
	auth     *message.AUTH
	tsi, tsr *message.TS
	eap      *message.EAP
	notifies []*message.Notify
	deletes  []*message.Delete
	cp       *message.CP
	vendors  []*message.VendorID
	others   []message.Payload
	at       Datagram // without data: where the message came from, and to
}

// errCritical is an unknown payload that must not be ignored.
type errCritical message.PayloadType

func (e errCritical) Error() string {
	return fmt.Sprintf("critical payload %d is unknown", uint8(e))
}

// sort puts payloads into their places; a second one where there may be only one is an error.
func sortPayloads(x message.ExchangeType, payloads []message.Payload) (*parts, error) {
	p := &parts{exchange: x}
	for _, v := range payloads {
		twice := false
		switch v := v.(type) {
		case *message.SA:
			twice, p.sa = p.sa != nil, v
		case *message.KE:
			twice, p.ke = p.ke != nil, v
		case *message.Nonce:
			twice, p.nonce = p.nonce != nil, v
		case *message.ID:
			if v.Responder {
				twice, p.idr = p.idr != nil, v
			} else {
				twice, p.idi = p.idi != nil, v
			}
		case *message.AUTH:
			twice, p.auth = p.auth != nil, v
		case *message.TS:
			if v.Responder {
				twice, p.tsr = p.tsr != nil, v
			} else {
				twice, p.tsi = p.tsi != nil, v
			}
		case *message.EAP:
			twice, p.eap = p.eap != nil, v
		case *message.CP:
			twice, p.cp = p.cp != nil, v
		case *message.VendorID:
			p.vendors = append(p.vendors, v)
		case *message.Notify:
			p.notifies = append(p.notifies, v)
		case *message.Delete:
			p.deletes = append(p.deletes, v)
		case *message.Unknown:
			if v.Critical {
				return p, errCritical(v.PayloadType)
			}
		default: // CERT, CERTREQ
			p.others = append(p.others, v)
		}
		if twice {
			return p, fmt.Errorf("two %v payloads", v.Type())
		}
	}
	return p, nil
}

func (p *parts) notify(t message.NotifyType) *message.Notify {
	for _, n := range p.notifies {
		if n.Message == t {
			return n
		}
	}
	return nil
}

// failure is the first error notification.
func (p *parts) failure() *message.Notify {
	for _, n := range p.notifies {
		if n.Message.Error() {
			return n
		}
	}
	return nil
}

// receive takes a message for this SA. Nothing changes until its integrity is proven.
func (sa *ikeSA) receive(d Datagram, h message.Header) {
	e := sa.e
	retransmitted := false
	switch {
	case h.Response():
		if sa.pending == nil || h.MessageID != sa.pending.id || h.Exchange != sa.pending.exchange || sa.state == stInit {
			e.counters.WindowDropped++
			return
		}
	case sa.cache != nil && h.MessageID == sa.recvID-1:
		retransmitted = true
	case h.MessageID != sa.recvID, sa.state == stInit, sa.state == stAuth, sa.state == stGone:
		// Before a peer is authenticated it has nothing to ask for.
		e.counters.WindowDropped++
		return
	}
	m, err := message.Decode(d.Data)
	if err != nil {
		e.malformed(d, err)
		return
	}
	enc := encrypted(m)
	if enc == nil {
		e.counters.DecryptFailed++
		if h.Response() {
			sa.hurry(d, m)
		}
		return
	}
	if sa.state == stHalf && !sa.derive() {
		return
	}
	plain, err := sa.in.Open(d.Data, enc.IVOffset)
	if err != nil {
		e.counters.DecryptFailed++
		e.logPlain(zerolog.DebugLevel, d, "IKE message is not authentic", Field{"event", "decrypt-failed"},
			Field{"exchange", h.Exchange.String()}, Field{"error", err.Error()})
		return
	}
	if retransmitted {
		// RFC 7383 §2.6.1: of a fragmented request only the first fragment is answered.
		if !enc.Fragment || enc.Number == 1 {
			e.counters.Resent++
			sa.resend(d)
		}
		return
	}
	first := enc.First
	if enc.Fragment {
		if !sa.s.fragments {
			e.counters.FragmentsDropped++
			return
		}
		direction := 0
		if h.Response() {
			direction = 1
		}
		var whole bool
		if first, plain, whole = sa.assembling[direction].add(h.MessageID, enc, plain); !whole {
			return
		}
	}
	sa.authentic(d)
	payloads, err := message.DecodePayloads(first, plain)
	sa.tracePayloads(h, payloads, false)
	var p *parts
	if err == nil {
		p, err = sortPayloads(h.Exchange, payloads)
	}
	if p != nil {
		p.at = Datagram{VRF: d.VRF, Local: d.Local, Remote: d.Remote}
	}
	if h.Response() {
		sa.receiveResponse(p, err)
	} else {
		sa.receiveRequest(d, h, p, err)
	}
	sa.pump()
	if cur := sa.s.cur; cur != sa {
		cur.pump()
	}
}

func encrypted(m *message.Message) *message.Encrypted {
	if len(m.Payloads) == 0 {
		return nil
	}
	enc, _ := m.Payloads[len(m.Payloads)-1].(*message.Encrypted)
	return enc
}

// authentic is called for every new message that the peer's keys have made.
func (sa *ikeSA) authentic(d Datagram) {
	s := sa.s
	s.heard()
	sa.hold = time.Time{}
	switch {
	case sa.state == stHalf:
		// From here on the peer is where its IKE_AUTH came from: port 4500 behind NAT.
		s.setPath(d.Local, d.Remote)
	case s.follows() && !s.ended && !s.mobike: // RFC 4555 §3.8: with MOBIKE only ESP may move a peer by itself
		s.move(d.Local, d.Remote)
	}
	if sa.state == stReady && !s.confirmed {
		s.confirm()
	}
}

func (sa *ikeSA) receiveResponse(p *parts, err error) {
	q := sa.pending
	sa.pending = nil
	if err != nil {
		// An authentic peer that makes no sense: RFC 7296 §2.21.
		sa.e.counters.Malformed++
		sa.drop(q.task)
		if sa.s.ended || sa.state != stReady {
			sa.e.remove(sa)
			return
		}
		sa.s.log(zerolog.WarnLevel, "response is invalid", Field{"event", "invalid-syntax"}, Field{"exchange", q.exchange.String()}, Field{"error", err.Error()})
		sa.s.close("peer's response is invalid: "+err.Error(), ErrSyntax)
		return
	}
	if p.notify(message.INVALID_SYNTAX) != nil && sa.state == stReady && !sa.s.ended {
		sa.drop(q.task)
		sa.s.fail("peer refuses "+q.exchange.String()+": INVALID_SYNTAX", ErrRefused)
		return
	}
	q.task.done(sa, p)
}

func (sa *ikeSA) receiveRequest(d Datagram, h message.Header, p *parts, err error) {
	sa.recvID++
	if err != nil {
		sa.e.counters.Malformed++
		sa.s.log(zerolog.WarnLevel, "request is invalid", Field{"event", "invalid-syntax"}, Field{"exchange", h.Exchange.String()}, Field{"error", err.Error()})
		if c, ok := err.(errCritical); ok {
			sa.respond(d, h, []message.Payload{&message.Notify{Message: message.UNSUPPORTED_CRITICAL_PAYLOAD, Data: []byte{uint8(c)}}})
			if sa.state == stHalf {
				sa.s.end("peer's request is invalid: "+err.Error(), ErrSyntax)
				sa.finish()
			}
			return
		}
		sa.invalidSyntax(d, h, err.Error())
		return
	}
	switch {
	case sa.state == stHalf:
		if h.Exchange != message.IKE_AUTH {
			sa.invalidSyntax(d, h, h.Exchange.String()+" before IKE_AUTH")
			return
		}
		sa.authRequest(d, h, p)
	case h.Exchange == message.CREATE_CHILD_SA:
		answer := sa.createChildRequest(p)
		if n, ok := answer[0].(*message.Notify); ok && n.Message == message.INVALID_SYNTAX {
			sa.invalidSyntax(d, h, h.Exchange.String()+" lacks a payload or has an invalid one")
			return
		}
		sa.respond(d, h, answer)
	case h.Exchange == message.INFORMATIONAL:
		sa.informationalRequest(d, h, p)
	default:
		sa.invalidSyntax(d, h, "exchange "+h.Exchange.String()+" is not expected")
	}
}

// invalidSyntax answers and ends the SA on both sides (RFC 7296 §2.21.3).
func (sa *ikeSA) invalidSyntax(d Datagram, h message.Header, why string) {
	sa.respond(d, h, []message.Payload{syntax()})
	sa.s.end("peer's request is invalid: "+why, ErrSyntax)
	sa.finish()
}

// hint takes an unprotected INVALID_SPI: it proves nothing, but asking costs little (RFC 7296 §1.5, §2.4).
func (e *Engine) hint(d Datagram) {
	if !e.hints.take(e.now) {
		return
	}
	m, err := message.Decode(d.Data)
	if err != nil || len(m.Payloads) != 1 {
		return
	}
	n, ok := m.Payloads[0].(*message.Notify)
	if !ok || n.Message != message.INVALID_SPI || len(n.Data) != 4 {
		return
	}
	for _, s := range e.withPeer(d.VRF, d.Remote.Addr()) {
		if s.established.IsZero() || s.child(binary.BigEndian.Uint32(n.Data)) == nil {
			continue
		}
		if e.now.Sub(s.hinted) < 10*time.Second {
			continue
		}
		s.hinted = e.now
		if s.cur.pending != nil || len(s.cur.tasks) > 0 {
			continue
		}
		s.log(zerolog.InfoLevel, "peer seems to have lost the SA, asking it", Field{"event", "hint"}, Field{"notify", n.Message.String()})
		e.touch(s.cur)
		s.cur.queue(&probe{quick: true})
	}
}

// hurry takes an unprotected INVALID_IKE_SPI in answer to our request: the peer seems to have lost the SA. That proves
// nothing, but four more tries in quick succession must then be enough.
func (sa *ikeSA) hurry(d Datagram, m *message.Message) {
	if len(m.Payloads) != 1 || d.Remote != sa.s.remote {
		return
	}
	if n, ok := m.Payloads[0].(*message.Notify); ok && n.Message == message.INVALID_IKE_SPI {
		q := sa.pending
		q.tries = min(q.tries, q.sent+4)
		q.interval, q.most = min(q.interval, 2*time.Second), 2*time.Second
		q.next = earlier(q.next, sa.e.now.Add(q.interval))
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
