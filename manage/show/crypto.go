package show

import (
	"fmt"
	"net/netip"
	"time"

	"felloe/manage/cli"
	"felloe/netstack/esp"
	"felloe/vpn/ikev2/suite"
	"felloe/vpn/protect"
)

// IPsecSAs is `show crypto ipsec sa`.
type IPsecSAs struct {
	SAs []IPsecSA `json:"sas"`
}

// IPsecSA is one pair of ESP SAs.
type IPsecSA struct {
	Interface    string       `json:"interface"`
	VRF          string       `json:"fvrf"`
	Local        string       `json:"local"`
	Remote       string       `json:"remote"`
	LocalIdent   []string     `json:"local_ident"`
	RemoteIdent  []string     `json:"remote_ident"`
	PeerIdentity string       `json:"peer_identity"`
	Suite        string       `json:"suite"`
	Mode         string       `json:"mode"`
	UDPEncap     bool         `json:"udp_encapsulation"`
	ESN          bool         `json:"esn"`
	PFS          int          `json:"pfs_group"`
	SPIIn        string       `json:"spi_in"`
	SPIOut       string       `json:"spi_out"`
	Sending      bool         `json:"sending"`
	Encaps       uint64       `json:"encaps"`
	EncapsBytes  uint64       `json:"encaps_bytes"`
	Decaps       uint64       `json:"decaps"`
	DecapsBytes  uint64       `json:"decaps_bytes"`
	In           esp.Counters `json:"-"`
	Out          esp.Counters `json:"-"`
	SendErrors   uint64       `json:"send_errors"`
	RecvErrors   uint64       `json:"recv_errors"`
	Replays      uint64       `json:"replays"`
	PathMTU      int          `json:"path_mtu"`
	PlainMTU     int          `json:"plaintext_mtu"`
	Remaining    int64        `json:"remaining_seconds"`
	RemainingKB  uint64       `json:"remaining_kilobytes"`
	Window       int          `json:"replay_window"`
}

// NewIPsecSAs makes the answer of the sessions of all tunnels.
func NewIPsecSAs(sessions []protect.Info, now time.Time) IPsecSAs {
	out := IPsecSAs{SAs: []IPsecSA{}}
	for _, s := range sessions {
		for _, p := range s.Pairs {
			sa := IPsecSA{Interface: s.Tunnel, VRF: vrfName(s.VRF), Local: p.Local.String(), Remote: p.Remote.String(), PeerIdentity: s.Peer.String(),
				Suite: p.Suite.String(), Mode: p.Mode.String(), UDPEncap: p.UDPEncap, ESN: p.ESN, SPIIn: spi(p.SPIIn), SPIOut: spi(p.SPIOut),
				Sending: p.Sending, Encaps: p.Out.Packets, EncapsBytes: p.Out.Bytes, Decaps: p.In.Packets, DecapsBytes: p.In.Bytes, In: p.In, Out: p.Out,
				SendErrors: p.Out.Errors(), RecvErrors: p.In.Errors(), Replays: p.In.Replay, Window: p.ReplayWindow}
			if p.PFS != suite.GROUP_NONE {
				sa.PFS = int(p.PFS)
			}
			for _, t := range p.TSLocal {
				sa.LocalIdent = append(sa.LocalIdent, fmt.Sprint(t))
			}
			for _, t := range p.TSRemote {
				sa.RemoteIdent = append(sa.RemoteIdent, fmt.Sprint(t))
			}
			if !p.Expires.IsZero() {
				sa.Remaining = seconds(p.Expires.Sub(now))
			}
			if used := max(p.In.Bytes, p.Out.Bytes); p.VolumeBytes > used {
				sa.RemainingKB = (p.VolumeBytes - used) / 1024
			}
			sa.PathMTU, sa.PlainMTU = p.PathMTU, p.PlainMTU
			out.SAs = append(out.SAs, sa)
		}
	}
	return out
}

// Text implements cli.Result.
func (r IPsecSAs) Text(w *cli.Table) {
	last := ""
	for _, s := range r.SAs {
		if s.Interface != last {
			w.Line("")
			w.Linef("interface: %s", s.Interface)
			last = s.Interface
		}
		w.Line("")
		w.Linef("   protected vrf: %s", s.VRF)
		w.Linef("   local  ident: %v", s.LocalIdent)
		w.Linef("   remote ident: %v", s.RemoteIdent)
		w.Linef("   current_peer %s (%s)", s.Remote, s.PeerIdentity)
		w.Linef("    #pkts encaps: %d, #pkts encrypt: %d, #pkts digest: %d", s.Encaps, s.Encaps, s.Encaps)
		w.Linef("    #pkts decaps: %d, #pkts decrypt: %d, #pkts verify: %d", s.Decaps, s.Decaps, s.Decaps)
		w.Linef("    #send errors %d, #recv errors %d, #pkts replay failed %d", s.SendErrors, s.RecvErrors, s.Replays)
		w.Line("")
		w.Linef("     local crypto endpt.: %s, remote crypto endpt.: %s", s.Local, s.Remote)
		w.Linef("     plaintext mtu %d, path mtu %d", s.PlainMTU, s.PathMTU)
		w.Linef("     current outbound spi: %s%s", s.SPIOut, map[bool]string{true: "", false: " (not sending on it)"}[s.Sending])
		pfs := "N"
		if s.PFS != 0 {
			pfs = fmt.Sprintf("Y, DH group %d", s.PFS)
		}
		w.Linef("     PFS (Y/N): %s", pfs)
		for _, d := range []struct{ name, spi string }{{"inbound", s.SPIIn}, {"outbound", s.SPIOut}} {
			w.Linef("     %s esp sas:", d.name)
			w.Linef("      spi: %s", d.spi)
			encap := s.Mode
			if s.UDPEncap {
				encap += " UDP-Encaps"
			}
			w.Linef("        transform: %s, in use settings ={%s}", s.Suite, encap)
			w.Linef("        sa timing: remaining key lifetime (k/sec): (%d/%d)", s.RemainingKB, s.Remaining)
			w.Linef("        replay detection support: Y, window %d, ESN: %s", s.Window, yes(s.ESN))
		}
	}
}

// CryptoSessions is `show crypto session`.
type CryptoSessions struct {
	Sessions []CryptoSession `json:"sessions"`
	detail   bool
}

// CryptoSession is one far end of one tunnel.
type CryptoSession struct {
	Interface  string `json:"interface"`
	Profile    string `json:"profile"`
	Status     string `json:"status"`
	Peer       string `json:"peer"`
	Identity   string `json:"identity"`
	FVRF       string `json:"fvrf"`
	Local      string `json:"local"`
	IKE        uint64 `json:"ikev2_tunnel_id"`
	Up         int64  `json:"uptime"`
	ActiveSAs  int    `json:"active_sas"`
	NAT        bool   `json:"nat"`
	Error      string `json:"last_error,omitempty"`
	RetryIn    int64  `json:"retry_in,omitempty"`
	Attempts   uint64 `json:"attempts"`
	Failures   uint64 `json:"failures"`
	Rekeys     uint64 `json:"rekeys"`
	SharedWith string `json:"shared_with,omitempty"`
	In         uint64 `json:"inbound_packets"`
	Out        uint64 `json:"outbound_packets"`
}

// status is the word of IOS for a session's state.
func status(s *protect.Info) string {
	switch s.State {
	case protect.StateUp:
		return "UP-ACTIVE"
	case protect.StateNegotiating:
		return "DOWN-NEGOTIATING"
	case protect.StateRetrying:
		return "DOWN-RETRYING"
	}
	return "DOWN"
}

// NewCryptoSessions makes the answer.
func NewCryptoSessions(sessions []protect.Info, detail bool, now time.Time) CryptoSessions {
	out := CryptoSessions{Sessions: []CryptoSession{}, detail: detail}
	for i := range sessions {
		s := &sessions[i]
		c := CryptoSession{Interface: s.Tunnel, Profile: s.Profile, Status: status(s), FVRF: vrfName(s.VRF), IKE: uint64(s.IKE),
			NAT: s.NAT.Local || s.NAT.Remote, Attempts: s.Totals.Attempts, Failures: s.Totals.Failures, Rekeys: s.Totals.Rekeys, SharedWith: s.SharedWith}
		c.Peer = text(s.NBMA)
		if s.Remote.IsValid() {
			c.Peer = s.Remote.String()
		}
		if s.Local.IsValid() {
			c.Local = s.Local.String()
		}
		if !s.Peer.IsZero() {
			c.Identity = s.Peer.String()
		}
		if s.State == protect.StateUp {
			c.Up = seconds(now.Sub(s.Since))
		}
		if s.LastError != nil {
			c.Error = s.LastError.Error()
		} else if s.State != protect.StateUp {
			c.Error = s.LastReason
		}
		if !s.RetryAt.IsZero() && s.State == protect.StateRetrying {
			c.RetryIn = seconds(s.RetryAt.Sub(now))
		}
		for _, p := range s.Pairs {
			c.ActiveSAs += 2
			c.In += p.In.Packets
			c.Out += p.Out.Packets
		}
		out.Sessions = append(out.Sessions, c)
	}
	return out
}

// Text implements cli.Result.
func (r CryptoSessions) Text(w *cli.Table) {
	w.Line("Crypto session current status")
	for _, s := range r.Sessions {
		w.Line("")
		w.Linef("Interface: %s", s.Interface)
		w.Linef("Profile: %s", s.Profile)
		if s.Status == "UP-ACTIVE" {
			w.Linef("Uptime: %s", Clock(time.Duration(s.Up)*time.Second))
		}
		w.Linef("Session status: %s", s.Status)
		w.Linef("Peer: %s fvrf: %s", s.Peer, s.FVRF)
		if s.Identity != "" {
			w.Linef("      Phase1_id: %s", s.Identity)
			w.Linef("  Session ID: %d", s.IKE)
			w.Linef("  IKEv2 SA: local %s remote %s", s.Local, s.Peer)
		}
		w.Linef("  IPSEC FLOW: permit 47/any, Active SAs: %d", s.ActiveSAs)
		if s.SharedWith != "" {
			w.Linef("        Shares the SAs of %s", s.SharedWith)
		}
		if s.Error != "" {
			w.Linef("  Last error: %s", s.Error)
		}
		if s.RetryIn > 0 {
			w.Linef("  Next attempt in %d s", s.RetryIn)
		}
		if r.detail {
			w.Linef("        Inbound:  #pkts dec'ed %d", s.In)
			w.Linef("        Outbound: #pkts enc'ed %d", s.Out)
			w.Linef("        Attempts %d, failures %d, rekeys %d, NAT %s", s.Attempts, s.Failures, s.Rekeys, yes(s.NAT))
		}
	}
}

// CryptoSockets is `show crypto sockets`.
type CryptoSockets struct {
	Sockets []CryptoSocket `json:"sockets"`
}

// CryptoSocket is what a tunnel has asked its protection for.
type CryptoSocket struct {
	Interface string     `json:"interface"`
	Local     netip.Addr `json:"local"`
	Remote    netip.Addr `json:"remote"`
	State     string     `json:"state"`
	Client    string     `json:"client"`
}

// NewCryptoSockets makes the answer; local tells a tunnel's source.
func NewCryptoSockets(sessions []protect.Info, local func(tunnel string) netip.Addr) CryptoSockets {
	out := CryptoSockets{Sockets: []CryptoSocket{}}
	for i := range sessions {
		s := &sessions[i]
		state := "Opening"
		switch s.State {
		case protect.StateUp:
			state = "Open"
		case protect.StateIdle:
			state = "Listening"
		}
		out.Sockets = append(out.Sockets, CryptoSocket{s.Tunnel, local(s.Tunnel), s.NBMA, state, "TUNNEL SEC (Client State: " + map[bool]string{true: "Active", false: "Waiting"}[state == "Open"] + ")"})
	}
	return out
}

// Text implements cli.Result.
func (r CryptoSockets) Text(w *cli.Table) {
	w.Linef("Number of Crypto Socket connections %d", len(r.Sockets))
	for _, s := range r.Sockets {
		w.Line("")
		w.Linef("   %s Peers (local/remote): %s/%s", s.Interface, s.Local, s.Remote)
		w.Linef("       Socket State: %s", s.State)
		w.Linef("       Client: %s", s.Client)
	}
}
