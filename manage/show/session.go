package show

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"felloe/manage/cli"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"
)

// SessionKind is how much `show crypto session` tells.
type SessionKind uint8

// The kinds.
const (
	SessionPlain SessionKind = iota
	SessionDetail
	SessionBrief
)

// CryptoSessions is `show crypto session`.
type CryptoSessions struct {
	Sessions []CryptoSession `json:"sessions"`
	kind     SessionKind
}

// CryptoSession is one far end of one tunnel, or an IKE SA that serves none (yet).
type CryptoSession struct {
	Interface    string       `json:"interface"`
	Profile      string       `json:"profile"`
	Status       string       `json:"status"`
	Peer         string       `json:"peer"`
	Identity     string       `json:"identity"`
	FVRF         string       `json:"fvrf"`
	IVRF         string       `json:"ivrf"`
	Local        string       `json:"local"`
	IKE          uint64       `json:"ikev2_tunnel_id"`
	IKELifetime  int64        `json:"ikev2_lifetime"`
	Capabilities string       `json:"capabilities"`
	Assigned     []string     `json:"assigned"`
	Up           int64        `json:"uptime"`
	ActiveSAs    int          `json:"active_sas"`
	NAT          bool         `json:"nat"`
	Error        string       `json:"last_error,omitempty"`
	RetryIn      int64        `json:"retry_in,omitempty"`
	Attempts     uint64       `json:"attempts"`
	Failures     uint64       `json:"failures"`
	Rekeys       uint64       `json:"rekeys"`
	SharedWith   string       `json:"shared_with,omitempty"`
	In           uint64       `json:"inbound_packets"`
	Out          uint64       `json:"outbound_packets"`
	Flows        []CryptoFlow `json:"flows"`
	remote       netip.AddrPort
	local        netip.AddrPort
	nbma         netip.Addr
}

// CryptoFlow is what of a session's traffic one or more pairs of SAs protect.
type CryptoFlow struct {
	Flow      string `json:"flow"`
	ActiveSAs int    `json:"active_sas"`
	In        uint64 `json:"inbound_packets"`
	InDrops   uint64 `json:"inbound_drops"`
	InKB      uint64 `json:"inbound_life_kilobytes"`
	InLife    int64  `json:"inbound_life_seconds"`
	Out       uint64 `json:"outbound_packets"`
	OutDrops  uint64 `json:"outbound_drops"`
	OutKB     uint64 `json:"outbound_life_kilobytes"`
	OutLife   int64  `json:"outbound_life_seconds"`
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

// letters are what an IKE SA can do: see the legend.
func letters(s *ikev2.SAInfo, wanted bool) string {
	out := ""
	for _, c := range []struct {
		letter string
		has    bool
	}{
		{"C", !s.Assigned.IsZero() || !s.Received.IsZero()}, {"D", s.DPD.Interval > 0}, {"F", s.Fragmentation},
		{"N", s.NAT.Local || s.NAT.Remote || s.UDPEncap}, {"R", wanted}, {"U", len(s.Assigned.Subnets)+len(s.Received.Subnets) > 0}, {"M", s.MOBIKE},
	} {
		if c.has {
			out += c.letter
		}
	}
	return or(out, "(none)")
}

const capabilityLegend = `Code: C - IKE Configuration mode, D - Dead Peer Detection
K - Keepalives, N - NAT-traversal, T - cTCP encapsulation
X - IKE Extended Authentication, F - IKE Fragmentation
R - IKE Auto Reconnect, U - IKE Dynamic Route Update
M - MOBIKE`

// NewCryptoSessions makes the answer. IKE SAs without a Child SA are sessions too: UP-IDLE.
func NewCryptoSessions(sessions []protect.Info, sas []ikev2.SAInfo, only Only, around Around, kind SessionKind, now time.Time) CryptoSessions {
	out := CryptoSessions{Sessions: []CryptoSession{}, kind: kind}
	byID := make(map[ikev2.SAID]*ikev2.SAInfo, len(sas))
	for i := range sas {
		byID[sas[i].ID] = &sas[i]
	}
	served := map[ikev2.SAID]bool{}
	for i := range sessions {
		s := &sessions[i]
		served[s.IKE] = true
		ivrf := around.ivrf(s.Tunnel)
		c := CryptoSession{Interface: s.Tunnel, Profile: s.Profile, Status: status(s), FVRF: vrfName(s.VRF), IVRF: vrfName(ivrf), IKE: uint64(s.IKE),
			NAT: s.NAT.Local || s.NAT.Remote, Attempts: s.Totals.Attempts, Failures: s.Totals.Failures, Rekeys: s.Totals.Rekeys, SharedWith: s.SharedWith,
			nbma: s.NBMA, remote: s.Remote, local: s.Local, Flows: []CryptoFlow{}, Assigned: []string{}}
		c.Peer = text(s.NBMA)
		if s.Remote.IsValid() {
			c.nbma, c.Peer = s.Remote.Addr(), s.Remote.String()
		}
		if s.Local.IsValid() {
			c.Local = s.Local.String()
		}
		if !only.Fits(s.Tunnel, s.VRF, ivrf, s.Local.Addr(), c.nbma) {
			continue
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
		if sa := byID[s.IKE]; sa != nil {
			c.ike(sa, s.Wanted)
		}
		for j := range s.Pairs {
			c.pair(&s.Pairs[j], &around, now)
		}
		out.Sessions = append(out.Sessions, c)
	}
	for i := range sas {
		s := &sas[i]
		if served[s.ID] || len(s.Children) > 0 || s.State != "READY" || !only.Fits("", s.VRF, s.IVRF, s.Local.Addr(), s.Remote.Addr()) {
			continue
		}
		c := CryptoSession{Profile: s.Profile, Status: "UP-IDLE", FVRF: vrfName(s.VRF), IVRF: vrfName(s.IVRF), IKE: uint64(s.ID), Peer: s.Remote.String(), Identity: s.RemoteID.String(),
			Local: s.Local.String(), NAT: s.NAT.Local || s.NAT.Remote, nbma: s.Remote.Addr(), remote: s.Remote, local: s.Local, Flows: []CryptoFlow{}, Assigned: []string{}}
		c.Up = seconds(now.Sub(s.Established))
		c.ike(s, false)
		out.Sessions = append(out.Sessions, c)
	}
	return out
}

func (c *CryptoSession) ike(s *ikev2.SAInfo, wanted bool) {
	c.IKELifetime = seconds(s.Lifetime - s.Active)
	c.Capabilities = letters(s, wanted)
	for _, p := range s.Assigned.Addresses {
		c.Assigned = append(c.Assigned, p.Addr().String())
	}
}

// pair adds a pair of SAs to its flow.
func (c *CryptoSession) pair(p *protect.PairInfo, around *Around, now time.Time) {
	name := "permit ip any any"
	if len(p.TSLocal) > 0 && len(p.TSRemote) > 0 {
		name = flow(p.TSLocal[0], p.TSRemote[0])
	}
	at := slices.IndexFunc(c.Flows, func(f CryptoFlow) bool { return f.Flow == name })
	if at < 0 {
		c.Flows = append(c.Flows, CryptoFlow{Flow: name})
		at = len(c.Flows) - 1
	}
	f := &c.Flows[at]
	in, out := around.counters(p)
	f.ActiveSAs += 2
	f.In += in.Packets
	f.Out += out.Packets
	f.InDrops += in.Errors()
	f.OutDrops += out.Errors()
	if life := seconds(p.Expires.Sub(now)); !p.Expires.IsZero() && (p.Sending || f.InLife == 0) {
		f.InLife, f.OutLife = life, life
	}
	if p.Sending || f.InKB == 0 {
		f.InKB, f.OutKB = kilobytes(p.VolumeBytes, p.In.Bytes), kilobytes(p.VolumeBytes, p.Out.Bytes)
	}
	c.ActiveSAs += 2
	c.In += in.Packets
	c.Out += out.Packets
}

// Text implements cli.Result.
func (r CryptoSessions) Text(w *cli.Table) {
	if r.kind == SessionBrief {
		r.brief(w)
		return
	}
	w.Line("Crypto session current status")
	if r.kind == SessionDetail {
		w.Line("")
		w.Line(capabilityLegend)
	}
	for i := range r.Sessions {
		w.Line("")
		r.Sessions[i].print(w, r.kind == SessionDetail)
	}
}

func (c *CryptoSession) print(w *cli.Table, detail bool) {
	w.Linef("Interface: %s", or(c.Interface, "(none)"))
	w.Linef("Profile: %s", c.Profile)
	up := c.Status == "UP-ACTIVE" || c.Status == "UP-IDLE"
	if up {
		w.Linef("Uptime: %s", Clock(time.Duration(c.Up)*time.Second))
	}
	w.Linef("Session status: %s", c.Status)
	port := uint16(500)
	if c.remote.IsValid() {
		port = c.remote.Port()
	}
	vrfs := ""
	if detail {
		vrfs = fmt.Sprintf(" fvrf: %s ivrf: %s", noVRF(c.FVRF), noVRF(c.IVRF))
	}
	w.Linef("Peer: %s port %d%s", text(c.nbma), port, vrfs)
	if c.Identity != "" {
		if detail {
			w.Linef("      Phase1_id: %s", c.Identity)
			w.Line("      Desc: (none)")
		}
		w.Linef("  Session ID: %d", c.IKE)
		w.Linef("  IKEv2 SA: local %s remote %s %s", slash(c.local), slash(c.remote), map[bool]string{true: "Active", false: "Inactive"}[up])
		if detail {
			w.Linef("          Capabilities:%s connid:%d lifetime:%s", or(c.Capabilities, "(none)"), c.IKE, clock(c.IKELifetime))
			for _, a := range c.Assigned {
				w.Linef("          Assigned address: %s", a)
			}
		}
	}
	if len(c.Flows) == 0 {
		w.Line("  IPSEC FLOW: none")
		w.Line("        Active SAs: 0, origin: crypto map")
	}
	for _, f := range c.Flows {
		w.Linef("  IPSEC FLOW: %s", f.Flow)
		w.Linef("        Active SAs: %d, origin: crypto map", f.ActiveSAs)
		if detail {
			w.Linef("        Inbound:  #pkts dec'ed %d drop %d life (KB/Sec) %s", f.In, f.InDrops, life(f.InKB, f.InLife))
			w.Linef("        Outbound: #pkts enc'ed %d drop %d life (KB/Sec) %s", f.Out, f.OutDrops, life(f.OutKB, f.OutLife))
		}
	}
	if c.SharedWith != "" {
		w.Linef("        Shares the SAs of %s", c.SharedWith)
	}
	if c.Error != "" {
		w.Linef("  Last error: %s", c.Error)
	}
	if c.RetryIn > 0 {
		w.Linef("  Next attempt in %d s", c.RetryIn)
	}
	if detail {
		w.Linef("  Attempts %d, failures %d, rekeys %d", c.Attempts, c.Failures, c.Rekeys)
	}
}

// life is what is left in kilobytes and seconds.
func life(kb uint64, secs int64) string {
	if kb == 0 {
		return fmt.Sprintf("KB Vol Rekey Disabled/%d", secs)
	}
	return fmt.Sprintf("%d/%d", kb, secs)
}

func (r *CryptoSessions) brief(w *cli.Table) {
	w.Line("Status: A- Active, U - Up, D - Down, I - Idle, S - Standby, N - Negotiating")
	w.Line("        K - No IKE")
	sessions := slices.Clone(r.Sessions)
	slices.SortStableFunc(sessions, func(a, b CryptoSession) int { return cmp.Compare(a.IVRF, b.IVRF) })
	for i := 0; i < len(sessions); {
		vrf := sessions[i].IVRF
		w.Linef("ivrf = %s", noVRF(vrf))
		var rows [][]string
		for ; i < len(sessions) && sessions[i].IVRF == vrf; i++ {
			c := &sessions[i]
			up := ""
			if c.Up > 0 {
				up = Clock(time.Duration(c.Up) * time.Second)
			}
			rows = append(rows, []string{text(c.nbma), Short(or(c.Interface, "-")), or(c.Identity, "-"), up,
				map[string]string{"UP-ACTIVE": "UA", "UP-IDLE": "UI", "DOWN-NEGOTIATING": "DN"}[c.Status]})
			if last := rows[len(rows)-1]; last[4] == "" {
				last[4] = "D"
			}
		}
		w.Columns([]string{">Peer", "I/F", "Group/Phase1_id", ">Uptime", "Status"}, rows)
	}
}

// SessionSummary is `show crypto session summary`: how many, without looking at each.
type SessionSummary struct {
	Active      int `json:"up_active"`
	Idle        int `json:"up_idle"`
	Negotiating int `json:"negotiating"`
	Retrying    int `json:"retrying"`
	Down        int `json:"down"`
	IKE         int `json:"ikev2_sas"`
	IPsec       int `json:"ipsec_sas"`
}

// Text implements cli.Result.
func (s SessionSummary) Text(w *cli.Table) {
	w.Linef("Crypto sessions: %d", s.Active+s.Idle+s.Negotiating+s.Retrying+s.Down)
	w.Linef("  UP-ACTIVE %d, UP-IDLE %d, DOWN-NEGOTIATING %d, DOWN-RETRYING %d, DOWN %d", s.Active, s.Idle, s.Negotiating, s.Retrying, s.Down)
	w.Linef("IKEv2 SAs: %d", s.IKE)
	w.Linef("IPsec SAs: %d", s.IPsec)
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
		from := local(s.Tunnel)
		if !from.IsValid() && s.Local.IsValid() {
			from = s.Local.Addr()
		}
		out.Sockets = append(out.Sockets, CryptoSocket{s.Tunnel, from, s.NBMA, state, "TUNNEL SEC (Client State: " + map[bool]string{true: "Active", false: "Waiting"}[state == "Open"] + ")"})
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

// vendorText is a peer's kind as the IKEv2 tables name it.
func vendorText(vendors []string) string {
	if len(vendors) == 0 {
		return "Other"
	}
	out := vendors[0]
	for _, v := range vendors[1:] {
		out += ", " + v
	}
	return out
}
