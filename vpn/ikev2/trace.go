package ikev2

import (
	"fmt"
	"net/netip"
	"strings"

	"felloe/vpn/ikev2/message"

	"github.com/rs/zerolog"
)

// Trace has every message told as a Log of debug level while on says so: its header and size, and the names of its
// payloads (those inside SK too), never what is in them. The fields' "debug" says which debugging it is for.
func (e *Engine) Trace(on func() bool) { e.tracing = on }

func (e *Engine) traces() bool { return e.tracing != nil && e.tracing() }

func direction(sent bool) string {
	if sent {
		return "Sending"
	}
	return "Received"
}

// traceDatagram tells what everybody on the way can see.
func (e *Engine) traceDatagram(vrf string, local, remote netip.AddrPort, data []byte, sent bool) {
	if !e.traces() {
		return
	}
	h, err := message.DecodeHeader(data)
	if err != nil {
		return
	}
	inside := ""
	if m, err := message.Decode(data); err == nil {
		inside = names(m.Payloads)
	}
	e.emit(Log{Level: zerolog.DebugLevel, VRF: vrf, Local: local, Remote: remote,
		Msg:    fmt.Sprintf("%s packet, %s %s, message id %d, %d bytes: %s", direction(sent), h.Exchange, turn(h), h.MessageID, len(data), inside),
		Fields: append(traceFields(h, "ikev2 packet"), Field{"bytes", len(data)})})
}

// tracePayloads tells what is inside a protected message.
func (sa *ikeSA) tracePayloads(h message.Header, payloads []message.Payload, sent bool) {
	if !sa.e.traces() {
		return
	}
	sa.s.log(zerolog.DebugLevel, fmt.Sprintf("%s %s %s, message id %d, payloads: %s", direction(sent), h.Exchange, turn(h), h.MessageID, names(payloads)),
		traceFields(h, "ikev2 internal")...)
}

func traceFields(h message.Header, category string) []Field {
	return []Field{{"debug", category}, {"event", "packet"}, {"exchange", h.Exchange.String()}, {"message_id", h.MessageID},
		{"spi_i", fmt.Sprintf("%016x", h.SPIi)}, {"spi_r", fmt.Sprintf("%016x", h.SPIr)}}
}

func turn(h message.Header) string {
	if h.Response() {
		return "response"
	}
	return "request"
}

// names lists payloads by RFC 7296's abbreviations.
func names(payloads []message.Payload) string {
	var out []string
	for _, p := range payloads {
		name := fmt.Sprint(p.Type())
		switch v := p.(type) {
		case *message.Notify:
			name = "N(" + v.Message.String() + ")"
		case *message.Encrypted:
			if v.Fragment {
				name = fmt.Sprintf("SKF(%d/%d)", v.Number, v.Total)
			}
		}
		out = append(out, name)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, " ")
}
