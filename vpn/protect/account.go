package protect

import (
	"felloe/vpn/ikev2"
)

// Traffic is what an IKE SA's children have carried, the payload of ESP: those that are there, and those that were.
type Traffic struct{ PacketsIn, BytesIn, PacketsOut, BytesOut uint64 }

func (t *Traffic) add(p *pair) {
	in, out := p.in.Counters(), p.out.Counters()
	t.PacketsIn += in.Packets - p.counted.PacketsIn
	t.BytesIn += in.Bytes - p.counted.BytesIn
	t.PacketsOut += out.Packets - p.counted.PacketsOut
	t.BytesOut += out.Bytes - p.counted.BytesOut
	p.counted = Traffic{in.Packets, in.Bytes, out.Packets, out.Bytes}
}

// carry counts what a pair has carried for its IKE SA, up to now.
func (m *Manager) carry(p *pair) {
	if ike := m.ikes[p.up.SA]; ike != nil {
		ike.carried.add(p)
	}
}

// Traffic is what an IKE SA has carried until now.
func (m *Manager) Traffic(id ikev2.SAID) (Traffic, bool) {
	ike := m.ikes[id]
	if ike == nil {
		return Traffic{}, false
	}
	for _, p := range ike.pairs {
		ike.carried.add(p)
	}
	return ike.carried, true
}

// account tells what an IKE SA has carried in its life, when it ends.
func (m *Manager) account(a ikev2.IKEDown) {
	if t, ok := m.Traffic(a.SA); ok && a.Established && m.o.Carried != nil {
		m.o.Carried(a.SA, t)
	}
}

// Do carries out actions that somebody else had the engine make. On the loop.
func (m *Manager) Do(acts []ikev2.Action) { m.run(acts) }
