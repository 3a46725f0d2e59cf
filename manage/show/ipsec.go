package show

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"felloe/manage/cli"
	"felloe/netstack/esp"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/protect"
)

// Only narrows what crypto commands show and clear; what is zero does not narrow.
type Only struct {
	Interface     string
	FVRF, IVRF    string
	VRF           string // either of them
	Remote, Local netip.Addr
	SPI           uint32
}

// Fits tells whether an SA or session of that kind is meant.
func (o *Only) Fits(ifname, fvrf, ivrf string, local, remote netip.Addr) bool {
	return (o.Interface == "" || o.Interface == ifname) &&
		(o.FVRF == "" || sameVRF(o.FVRF, fvrf)) && (o.IVRF == "" || sameVRF(o.IVRF, ivrf)) &&
		(o.VRF == "" || sameVRF(o.VRF, ivrf) || sameVRF(o.VRF, fvrf)) &&
		(!o.Remote.IsValid() || o.Remote == remote) && (!o.Local.IsValid() || o.Local == local)
}

func sameVRF(a, b string) bool { return vrfName(a) == vrfName(b) }

// Around is what the crypto tables tell beside the sessions themselves. Any of the functions may be nil.
type Around struct {
	// IVRF is the VRF that an interface is in.
	IVRF func(ifname string) string
	// Egress is the interface that packets to an address leave by, and its IP MTU.
	Egress func(fvrf string, to netip.Addr) (ifname string, mtu int)
	// Cleared are the counters of an SA pair when they were cleared last, by its inbound SPI.
	Cleared func(spi uint32) (in, out esp.Counters)
}

func (a *Around) ivrf(ifname string) string {
	if a.IVRF == nil {
		return ""
	}
	return a.IVRF(ifname)
}

// counters are an SA pair's since they were cleared.
func (a *Around) counters(p *protect.PairInfo) (in, out esp.Counters) {
	in, out = p.In, p.Out
	if a.Cleared != nil {
		i, o := a.Cleared(p.SPIIn)
		in, out = since(in, i), since(out, o)
	}
	return in, out
}

func since(now, then esp.Counters) esp.Counters {
	now.Packets -= min(then.Packets, now.Packets)
	now.Bytes -= min(then.Bytes, now.Bytes)
	now.SequenceExhausted -= min(then.SequenceExhausted, now.SequenceExhausted)
	now.HardLimit -= min(then.HardLimit, now.HardLimit)
	now.NoRoom -= min(then.NoRoom, now.NoRoom)
	now.Replay -= min(then.Replay, now.Replay)
	now.Auth -= min(then.Auth, now.Auth)
	now.Truncated -= min(then.Truncated, now.Truncated)
	now.Padding -= min(then.Padding, now.Padding)
	return now
}

// IPsecSAs is `show crypto ipsec sa`.
type IPsecSAs struct {
	SAs    []IPsecSA `json:"sas"`
	detail bool
}

// IPsecSA is one pair of ESP SAs.
type IPsecSA struct {
	Interface      string       `json:"interface"`
	VRF            string       `json:"fvrf"`
	IVRF           string       `json:"ivrf"`
	Local          string       `json:"local"`
	Remote         string       `json:"remote"`
	LocalIdent     []string     `json:"local_ident"`
	RemoteIdent    []string     `json:"remote_ident"`
	PeerIdentity   string       `json:"peer_identity"`
	Suite          string       `json:"suite"`
	Transform      string       `json:"transform"`
	Mode           string       `json:"mode"`
	UDPEncap       bool         `json:"udp_encapsulation"`
	ESN            bool         `json:"esn"`
	PFS            int          `json:"pfs_group"`
	SPIIn          string       `json:"spi_in"`
	SPIOut         string       `json:"spi_out"`
	ConnID         uint64       `json:"conn_id"`
	Sending        bool         `json:"sending"`
	Encaps         uint64       `json:"encaps"`
	EncapsBytes    uint64       `json:"encaps_bytes"`
	Decaps         uint64       `json:"decaps"`
	DecapsBytes    uint64       `json:"decaps_bytes"`
	In             esp.Counters `json:"-"`
	Out            esp.Counters `json:"-"`
	SendErrors     uint64       `json:"send_errors"`
	RecvErrors     uint64       `json:"recv_errors"`
	Replays        uint64       `json:"replays"`
	PathMTU        int          `json:"path_mtu"`
	PlainMTU       int          `json:"plaintext_mtu"`
	Egress         string       `json:"egress,omitempty"`
	EgressMTU      int          `json:"egress_mtu,omitempty"`
	Remaining      int64        `json:"remaining_seconds"`
	RemainingKB    uint64       `json:"remaining_kilobytes"`
	RemainingKBIn  uint64       `json:"remaining_kilobytes_in"`
	RemainingKBOut uint64       `json:"remaining_kilobytes_out"`
	Volume         bool         `json:"volume_lifetime"`
	Window         int          `json:"replay_window"`
	IV             int          `json:"iv_bytes"`
	local, remote  netip.AddrPort
	spiIn, spiOut  uint32
}

// NewIPsecSAs makes the answer of the sessions of all tunnels.
func NewIPsecSAs(sessions []protect.Info, only Only, around Around, detail bool, now time.Time) IPsecSAs {
	out := IPsecSAs{SAs: []IPsecSA{}, detail: detail}
	for i := range sessions {
		s := &sessions[i]
		ivrf := around.ivrf(s.Tunnel)
		for j := range s.Pairs {
			p := &s.Pairs[j]
			if !only.Fits(s.Tunnel, s.VRF, ivrf, p.Local.Addr(), p.Remote.Addr()) || only.SPI != 0 && only.SPI != p.SPIIn && only.SPI != p.SPIOut {
				continue
			}
			in, sent := around.counters(p)
			sa := IPsecSA{Interface: s.Tunnel, VRF: vrfName(s.VRF), IVRF: vrfName(ivrf), Local: p.Local.String(), Remote: p.Remote.String(), PeerIdentity: s.Peer.String(),
				Suite: p.Suite.String(), Transform: transform(p.Suite), Mode: title(p.Mode.String()), UDPEncap: p.UDPEncap, ESN: p.ESN, SPIIn: spi(p.SPIIn), SPIOut: spi(p.SPIOut),
				ConnID: uint64(p.Child)*2 - 1, Sending: p.Sending, Encaps: sent.Packets, EncapsBytes: sent.Bytes, Decaps: in.Packets, DecapsBytes: in.Bytes, In: in, Out: sent,
				SendErrors: sent.Errors(), RecvErrors: in.Errors(), Replays: in.Replay, Window: p.ReplayWindow, IV: 16, local: p.Local, remote: p.Remote,
				LocalIdent: []string{}, RemoteIdent: []string{}, PathMTU: p.PathMTU, PlainMTU: p.PlainMTU, Volume: p.VolumeBytes > 0, spiIn: p.SPIIn, spiOut: p.SPIOut}
			if p.Suite.Encr == esp.ENCR_AES_GCM_16 {
				sa.IV = 8
			}
			if p.PFS != suite.GROUP_NONE {
				sa.PFS = int(p.PFS)
			}
			for _, t := range p.TSLocal {
				sa.LocalIdent = append(sa.LocalIdent, ident(t))
			}
			for _, t := range p.TSRemote {
				sa.RemoteIdent = append(sa.RemoteIdent, ident(t))
			}
			if around.Egress != nil {
				sa.Egress, sa.EgressMTU = around.Egress(s.VRF, p.Remote.Addr())
			}
			if !p.Expires.IsZero() {
				sa.Remaining = seconds(p.Expires.Sub(now))
			}
			sa.RemainingKBIn, sa.RemainingKBOut = kilobytes(p.VolumeBytes, p.In.Bytes), kilobytes(p.VolumeBytes, p.Out.Bytes)
			sa.RemainingKB = min(sa.RemainingKBIn, sa.RemainingKBOut)
			out.SAs = append(out.SAs, sa)
		}
	}
	return out
}

// kilobytes is what is left of a lifetime.
func kilobytes(all, used uint64) uint64 {
	if all <= used {
		return 0
	}
	return (all - used) / 1024
}

// sameFlow tells pairs that differ only in age: one replaces the other, or both ends made one.
func (s *IPsecSA) sameFlow(o *IPsecSA) bool {
	return s.Interface == o.Interface && s.VRF == o.VRF && s.remote == o.remote && s.PeerIdentity == o.PeerIdentity &&
		slices.Equal(s.LocalIdent, o.LocalIdent) && slices.Equal(s.RemoteIdent, o.RemoteIdent)
}

// Text implements cli.Result.
func (r IPsecSAs) Text(w *cli.Table) {
	last := ""
	for i := 0; i < len(r.SAs); {
		n := i + 1
		for n < len(r.SAs) && r.SAs[i].sameFlow(&r.SAs[n]) {
			n++
		}
		if s := &r.SAs[i]; s.Interface != last {
			w.Line("")
			w.Linef("interface: %s", s.Interface)
			w.Linef("    Crypto map tag: %s-head-0, local addr %s", s.Interface, s.local.Addr())
			last = s.Interface
		}
		r.flow(w, r.SAs[i:n])
		i = n
	}
}

// flow prints the pairs of one flow.
func (r *IPsecSAs) flow(w *cli.Table, pairs []IPsecSA) {
	s := pairs[0]
	for i := range pairs {
		if pairs[i].Sending {
			s = pairs[i]
		}
	}
	sum := IPsecSA{}
	for i := range pairs {
		p := &pairs[i]
		sum.Encaps += p.Encaps
		sum.Decaps += p.Decaps
		sum.SendErrors += p.SendErrors
		sum.RecvErrors += p.RecvErrors
		sum.Replays += p.Replays
		sum.In.Auth += p.In.Auth
		sum.In.Truncated += p.In.Truncated
		sum.In.Padding += p.In.Padding
		sum.Out.NoRoom += p.Out.NoRoom
		sum.Out.HardLimit += p.Out.HardLimit
		sum.Out.SequenceExhausted += p.Out.SequenceExhausted
		sum.EncapsBytes += p.EncapsBytes
		sum.DecapsBytes += p.DecapsBytes
	}
	w.Line("")
	w.Linef("   protected vrf: %s", noVRF(s.IVRF))
	for _, x := range s.LocalIdent {
		w.Linef("   local  ident (addr/mask/prot/port): %s", x)
	}
	for _, x := range s.RemoteIdent {
		w.Linef("   remote ident (addr/mask/prot/port): %s", x)
	}
	w.Linef("   current_peer %s port %d", s.remote.Addr(), s.remote.Port())
	w.Linef("     PERMIT, flags={origin_is_acl,}, identity %s, fvrf: %s", s.PeerIdentity, noVRF(s.VRF))
	w.Linef("    #pkts encaps: %d, #pkts encrypt: %d, #pkts digest: %d", sum.Encaps, sum.Encaps, sum.Encaps)
	w.Linef("    #pkts decaps: %d, #pkts decrypt: %d, #pkts verify: %d", sum.Decaps, sum.Decaps, sum.Decaps)
	if r.detail {
		w.Linef("    #bytes encaps: %d, #bytes decaps: %d", sum.EncapsBytes, sum.DecapsBytes)
		w.Linef("    #pkts encaps failed (send) %d, #pkts decaps failed (rcv) %d", sum.Out.NoRoom, sum.In.Truncated)
		w.Linef("    #pkts invalid prot (recv) %d, #pkts verify failed: %d", sum.In.Padding, sum.In.Auth)
		w.Linef("    #pkts replay failed (rcv): %d", sum.Replays)
		w.Linef("    #pkts hard limit (send): %d, #pkts sequence overflow (send): %d", sum.Out.HardLimit, sum.Out.SequenceExhausted)
	}
	w.Linef("    #send errors %d, #recv errors %d, #pkts replay failed %d", sum.SendErrors, sum.RecvErrors, sum.Replays)
	w.Line("")
	w.Linef("     local crypto endpt.: %s, remote crypto endpt.: %s", s.local.Addr(), s.remote.Addr())
	mtu := ""
	if s.Egress != "" {
		mtu = fmt.Sprintf(", ip mtu %d, ip mtu idb %s", s.EgressMTU, s.Egress)
	}
	w.Linef("     plaintext mtu %d, path mtu %d%s", s.PlainMTU, s.PathMTU, mtu)
	w.Linef("     current outbound spi: %s(%d)%s", s.SPIOut, s.spiOut, map[bool]string{true: "", false: " (not sending on it)"}[s.Sending])
	w.Linef("     PFS (Y/N): %s, DH group: %s", yes(s.PFS != 0), group(suite.Group(s.PFS)))
	for _, inbound := range []bool{true, false} {
		w.Line("")
		w.Linef("     %s esp sas:", map[bool]string{true: "inbound", false: "outbound"}[inbound])
		for i := range pairs {
			pairs[i].esp(w, inbound)
		}
	}
}

// esp prints one SA.
func (s *IPsecSA) esp(w *cli.Table, inbound bool) {
	name, number, kb, conn := s.SPIIn, s.spiIn, s.RemainingKBIn, s.ConnID
	if !inbound {
		name, number, kb, conn = s.SPIOut, s.spiOut, s.RemainingKBOut, s.ConnID+1
	}
	use := s.Mode
	if s.UDPEncap {
		use += " UDP-Encaps"
	}
	w.Linef("      spi: %s(%d)", name, number)
	w.Linef("        transform: %s ,", s.Transform)
	w.Linef("        in use settings ={%s, }", use)
	w.Linef("        conn id: %d, crypto map: %s-head-0", conn, s.Interface)
	if s.Volume {
		w.Linef("        sa timing: remaining key lifetime (k/sec): (%d/%d)", kb, s.Remaining)
	} else {
		w.Linef("        sa timing: remaining key lifetime (sec): %d", s.Remaining)
	}
	w.Linef("        IV size: %d bytes", s.IV)
	replay := "N"
	if s.Window > 0 {
		replay = fmt.Sprintf("Y  replay window size: %d", s.Window)
	}
	w.Linef("        replay detection support: %s  ESN (Y/N): %s", replay, yes(s.ESN))
	w.Line("        Status: ACTIVE")
}
