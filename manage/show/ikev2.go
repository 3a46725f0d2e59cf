package show

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/message"
)

// IKEv2SAs is `show crypto ikev2 sa`.
type IKEv2SAs struct {
	SAs      []IKEv2SA `json:"sas"`
	detailed bool
}

// IKEv2SA is one IKE SA.
type IKEv2SA struct {
	ID            uint64         `json:"tunnel_id"`
	Local         string         `json:"local"`
	Remote        string         `json:"remote"`
	FVRF          string         `json:"fvrf"`
	IVRF          string         `json:"ivrf"`
	Status        string         `json:"status"`
	Profile       string         `json:"profile"`
	Encryption    string         `json:"encryption"`
	KeyBits       int            `json:"key_bits"`
	PRF           string         `json:"prf"`
	Hash          string         `json:"hash"`
	Group         int            `json:"dh_group"`
	AuthSign      string         `json:"auth_sign"`
	AuthVerify    string         `json:"auth_verify"`
	Lifetime      int64          `json:"lifetime"`
	Active        int64          `json:"active"`
	LocalSPI      string         `json:"local_spi"`
	RemoteSPI     string         `json:"remote_spi"`
	LocalID       string         `json:"local_id"`
	RemoteID      string         `json:"remote_id"`
	Initiator     bool           `json:"initiator"`
	Sent          uint32         `json:"next_request_sent"`
	Received      uint32         `json:"next_request_received"`
	Queued        int            `json:"queued"`
	Window        int            `json:"window"`
	DPD           int64          `json:"dpd_interval"`
	DPDRetry      int64          `json:"dpd_retry"`
	DPDMode       string         `json:"dpd_mode,omitempty"`
	Fragments     bool           `json:"fragmentation"`
	MOBIKE        bool           `json:"mobike"`
	UDPEncap      bool           `json:"udp_encapsulation"`
	NATLocal      bool           `json:"nat_local"`
	NATRemote     bool           `json:"nat_remote"`
	PeerType      string         `json:"peer_type"`
	Authorization string         `json:"authorization_policy,omitempty"`
	Redirects     bool           `json:"follows_redirects"`
	RedirectFrom  string         `json:"redirected_from,omitempty"`
	RedirectTo    string         `json:"redirected_to,omitempty"`
	Pushed        IKEv2Config    `json:"pushed"`
	Learned       IKEv2Config    `json:"learned"`
	AuthHashes    [2]string      `json:"auth_hashes"` // sign, verify
	Certificate   *PeerCert      `json:"peer_certificate,omitempty"`
	Own           *PeerCert      `json:"own_certificate,omitempty"`
	Children      []IKEv2Child   `json:"children"`
	RemoteSubnets []netip.Prefix `json:"remote_subnets"`
	local, remote netip.AddrPort
}

// PeerCert is the certificate that a side proved itself with.
type PeerCert struct {
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	Serial     string    `json:"serial"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	Key        string    `json:"key"`
	Trustpoint string    `json:"trustpoint"`
}

func certOf(c *ikev2.CertificateInfo) *PeerCert {
	if c == nil {
		return nil
	}
	return &PeerCert{c.Subject, c.Issuer, c.Serial, c.NotBefore, c.NotAfter, c.Key, c.Trustpoint}
}

func (c *PeerCert) print(w *cli.Table, whose string) {
	if c == nil {
		return
	}
	w.Linef("      %s certificate:", whose)
	w.Linef("          Subject: %s", c.Subject)
	w.Linef("          Issuer: %s", c.Issuer)
	w.Linef("          Serial Number (hex): %s, key: %s, trustpoint: %s", c.Serial, c.Key, c.Trustpoint)
	w.Linef("          end   date: %s", date(c.NotAfter))
}

// IKEv2Config is what a configuration exchange said.
type IKEv2Config struct {
	Addresses []netip.Prefix `json:"addresses"`
	DNS       []netip.Addr   `json:"dns"`
	Domains   []string       `json:"domains"`
	Subnets   []netip.Prefix `json:"subnets"`
	Version   string         `json:"version,omitempty"`
	PFS       *uint          `json:"pfs,omitempty"`
}

func configOf(c ikev2.Configuration) IKEv2Config {
	return IKEv2Config{append([]netip.Prefix{}, c.Addresses...), append([]netip.Addr{}, c.DNS...), plainAll(c.Domains),
		append([]netip.Prefix{}, c.Subnets...), cli.Plain(c.Version, ""), c.PFS}
}

// plainAll makes what a peer named harmless.
func plainAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = cli.Plain(s, "")
	}
	return out
}

// IKEv2Child is one pair of Child SAs.
type IKEv2Child struct {
	Policy string   `json:"policy"`
	State  string   `json:"state"`
	SPIIn  string   `json:"spi_in"`
	SPIOut string   `json:"spi_out"`
	Suite  string   `json:"suite"`
	Mode   string   `json:"mode"`
	ESN    bool     `json:"esn"`
	Local  []string `json:"local_selectors"`
	Remote []string `json:"remote_selectors"`
}

// NewIKEv2SAs makes the answer of a snapshot; ivrf tells the VRF of what a Child SA's policy is named after, may be nil.
func NewIKEv2SAs(infos []ikev2.SAInfo, only Only, ivrf func(sa *ikev2.SAInfo) string, detailed bool) IKEv2SAs {
	out := IKEv2SAs{SAs: []IKEv2SA{}, detailed: detailed}
	for i := range infos {
		s := &infos[i]
		inside := s.IVRF
		if ivrf != nil {
			inside = or(ivrf(s), inside)
		}
		if !only.Fits("", s.VRF, inside, s.Local.Addr(), s.Remote.Addr()) {
			continue
		}
		sa := IKEv2SA{
			ID: uint64(s.ID), Local: s.Local.String(), Remote: s.Remote.String(), FVRF: vrfName(s.VRF), IVRF: vrfName(inside), Status: s.State,
			Profile: s.Profile, Encryption: s.Suite.Encr.IOS(), KeyBits: s.Suite.KeyBits, PRF: s.Suite.PRF.IOS(), Hash: s.Suite.Integ.IOS(),
			Group: int(s.Suite.Group), AuthSign: or(s.SignScheme.Name, auth(s.AuthSign)), AuthVerify: or(s.VerifyScheme.Name, auth(s.AuthVerify)), Lifetime: seconds(s.Lifetime), Active: seconds(s.Active),
			LocalSPI: fmt.Sprintf("%016X", s.SPIr), RemoteSPI: fmt.Sprintf("%016X", s.SPIi), LocalID: s.LocalID.String(), RemoteID: s.RemoteID.String(),
			Initiator: s.Initiator, Sent: s.SendMessageID, Received: s.RecvMessageID, Queued: s.Queued, Window: s.Window,
			DPD: seconds(s.DPD.Interval), DPDRetry: seconds(s.DPD.Retry), Fragments: s.Fragmentation, NATLocal: s.NAT.Local, NATRemote: s.NAT.Remote,
			Redirects: s.FollowsRedirects, RedirectFrom: text(s.RedirectedFrom), RedirectTo: text(s.RedirectedTo), MOBIKE: s.MOBIKE, UDPEncap: s.UDPEncap, PeerType: vendorText(s.Vendors), Authorization: s.Authorization,
			Pushed: configOf(s.Assigned), Learned: configOf(s.Received), Children: []IKEv2Child{}, RemoteSubnets: remoteSubnets(s), Certificate: certOf(s.PeerCertificate), Own: certOf(s.LocalCertificate),
			AuthHashes: [2]string{s.SignScheme.Hash, s.VerifyScheme.Hash}, local: s.Local, remote: s.Remote,
		}
		if s.Initiator {
			sa.LocalSPI, sa.RemoteSPI = sa.RemoteSPI, sa.LocalSPI
		}
		if s.DPD.Interval > 0 {
			sa.DPDMode = "periodic"
			if s.DPD.OnDemand {
				sa.DPDMode = "on-demand"
			}
		}
		for _, c := range s.Children {
			child := IKEv2Child{Policy: c.Policy, State: c.State, SPIIn: spi(c.SPIIn), SPIOut: spi(c.SPIOut), Suite: c.Suite.String(), Mode: c.Mode.String(), ESN: c.ESN}
			for _, ts := range c.TSLocal {
				child.Local = append(child.Local, fmt.Sprint(ts))
			}
			for _, ts := range c.TSRemote {
				child.Remote = append(child.Remote, fmt.Sprint(ts))
			}
			sa.Children = append(sa.Children, child)
		}
		out.SAs = append(out.SAs, sa)
	}
	return out
}

// remoteSubnets is what is behind the peer: what it has told, and what its Child SAs are for.
func remoteSubnets(s *ikev2.SAInfo) []netip.Prefix {
	out := append([]netip.Prefix{}, s.Received.Subnets...)
	seen := map[netip.Prefix]bool{}
	for _, p := range out {
		seen[p] = true
	}
	for _, c := range s.Children {
		for _, t := range c.TSRemote {
			if p, ok := prefixOf(t); ok && p.Bits() > 0 && t.Protocol == 0 && !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	return out
}

func spi(s uint32) string { return fmt.Sprintf("0x%08X", s) }

func auth(m ikev2.AuthMethod) string {
	switch m {
	case message.AuthSharedKey:
		return "PSK"
	case 0:
		return "Unknown"
	}
	return fmt.Sprint(m)
}

// Text implements cli.Result.
func (r IKEv2SAs) Text(w *cli.Table) {
	for _, v6 := range []bool{false, true} {
		first := true
		for i := range r.SAs {
			s := &r.SAs[i]
			if s.remote.Addr().Is6() != v6 {
				continue
			}
			if first {
				w.Linef(" %s Crypto IKEv2  SA", map[bool]string{false: "IPv4", true: "IPv6"}[v6])
				w.Line("")
				first = false
			}
			s.print(w, r.detailed)
			w.Line("")
		}
	}
}

func (s *IKEv2SA) print(w *cli.Table, detailed bool) {
	w.Line("Tunnel-id Local                 Remote                fvrf/ivrf            Status")
	w.Linef("%-9d %-21s %-21s %-20s %s", s.ID, slash(s.local), slash(s.remote), s.FVRF+"/"+s.IVRF, s.Status)
	w.Linef("      Encr: %s, keysize: %d, PRF: %s, Hash: %s, DH Grp:%d, Auth sign: %s, Auth verify: %s", s.Encryption, s.KeyBits, s.PRF, s.Hash, s.Group, s.AuthSign, s.AuthVerify)
	w.Linef("      Life/Active Time: %d/%d sec", s.Lifetime, s.Active)
	if !detailed {
		return
	}
	w.Linef("      Session-id: %d, Profile: %s", s.ID, s.Profile)
	w.Linef("      Local spi: %s       Remote spi: %s", s.LocalSPI, s.RemoteSPI)
	w.Linef("      Local id: %s", s.LocalID)
	w.Linef("      Remote id: %s", s.RemoteID)
	w.Linef("      Local next msg id:  %-14d Remote next msg id: %d", s.Sent, s.Received)
	w.Linef("      Local req queued:   %-14d Local window:       %d", s.Queued, s.Window)
	if s.DPD > 0 {
		w.Linef("      DPD configured for %d seconds, retry %d, %s", s.DPD, s.DPDRetry, s.DPDMode)
	} else {
		w.Line("      DPD configured for 0 seconds, retry 0")
	}
	w.Linef("      Fragmentation %s", map[bool]string{true: "negotiated", false: "not negotiated"}[s.Fragments])
	w.Linef("      MOBIKE %s", map[bool]string{true: "negotiated", false: "not negotiated"}[s.MOBIKE])
	w.Linef("      Dynamic Route Update: %s", map[bool]string{true: "enabled", false: "disabled"}[len(s.Pushed.Subnets)+len(s.Learned.Subnets) > 0])
	w.Line("      Extended Authentication not configured.")
	switch {
	case s.NATLocal && s.NATRemote:
		w.Line("      NAT-T is detected inside and outside")
	case s.NATLocal:
		w.Line("      NAT-T is detected inside")
	case s.NATRemote:
		w.Line("      NAT-T is detected outside")
	default:
		w.Line("      NAT-T is not detected")
	}
	w.Linef("      Initiator of SA : %s", map[bool]string{true: "Yes", false: "No"}[s.Initiator])
	if s.Redirects {
		w.Line("      Redirects are followed by the initiator")
	}
	if s.RedirectFrom != "" {
		w.Linef("      Redirected from %s", s.RedirectFrom)
	}
	if s.RedirectTo != "" {
		w.Linef("      Redirected to %s: the SA is about to go", s.RedirectTo)
	}
	if s.Authorization != "" {
		w.Linef("      Authorization policy: %s", s.Authorization)
	}
	s.Pushed.print(w, "Pushed", "Local subnets:")
	s.Learned.print(w, "Received", "")
	if len(s.RemoteSubnets) > 0 {
		w.Line("      Remote subnets:")
		for _, p := range s.RemoteSubnets {
			w.Linef("      %s", network(p))
		}
	}
	w.Linef("      PEER TYPE: %s", s.PeerType)
	s.Own.print(w, "Local")
	s.Certificate.print(w, "Peer")
	for i := range s.Children {
		s.Children[i].print(w, true)
	}
}

func (c *IKEv2Child) print(w *cli.Table, detailed bool) {
	if detailed {
		w.Linef("      Child sa: %s %s %s %s, ESN: %s", c.Policy, c.State, c.Suite, c.Mode, yes(c.ESN))
	} else {
		w.Linef("      Child sa: %s", c.Policy)
	}
	w.Linef("          local selector  %s", strings.Join(c.Local, ", "))
	w.Linef("          remote selector %s", strings.Join(c.Remote, ", "))
	w.Linef("          ESP spi in/out: %s/%s", c.SPIIn, c.SPIOut)
}

// print says what one side has told the other.
func (c *IKEv2Config) print(w *cli.Table, who, subnets string) {
	for _, a := range c.Addresses {
		w.Linef("      %s IP address: %s", who, a)
	}
	for _, a := range c.DNS {
		w.Linef("      %s DNS: %s", who, a)
	}
	for _, d := range c.Domains {
		w.Linef("      %s def-domain: %s", who, d)
	}
	if c.PFS != nil {
		w.Linef("      %s PFS: %s", who, map[bool]string{true: "yes", false: "no"}[*c.PFS != 0])
	}
	if c.Version != "" {
		w.Linef("      %s version: %s", who, c.Version)
	}
	if subnets != "" && len(c.Subnets) > 0 {
		w.Linef("      %s", subnets)
		for _, p := range c.Subnets {
			w.Linef("      %s", network(p))
		}
	}
}

// IKEv2Stats is `show crypto ikev2 stats`.
type IKEv2Stats struct {
	MaxSAs            int            `json:"max_sas"`
	MaxHalfOpen       int            `json:"max_in_negotiation"`
	Incoming          [2]int         `json:"incoming_active_negotiating"`
	Outgoing          [2]int         `json:"outgoing_active_negotiating"`
	Counters          ikev2.Counters `json:"counters"`
	IKEUps            uint64         `json:"ike_up"`
	IKEDowns          uint64         `json:"ike_down"`
	IKERekeys         uint64         `json:"ike_rekeyed"`
	ChildUps          uint64         `json:"child_up"`
	ChildDowns        uint64         `json:"child_down"`
	ChildRekeys       uint64         `json:"child_rekeyed"`
	IKEFailures       uint64         `json:"ike_failed"`
	ChildFailures     uint64         `json:"child_failed"`
	ConfigurationSent int            `json:"sas_with_configuration"`
}

// Count adds the SAs of a snapshot.
func (s *IKEv2Stats) Count(infos []ikev2.SAInfo) {
	for i := range infos {
		n := &s.Incoming
		if infos[i].Initiator {
			n = &s.Outgoing
		}
		if infos[i].State == "READY" {
			n[0]++
		} else {
			n[1]++
		}
		if !infos[i].Assigned.IsZero() {
			s.ConfigurationSent++
		}
	}
}

// Text implements cli.Result.
func (s IKEv2Stats) Text(w *cli.Table) {
	c := &s.Counters
	w.Line("                          Crypto IKEv2 SA Statistics")
	w.Line(strings.Repeat("-", 80))
	w.Linef("Max IKEv2 SAs: %-8d Max in nego: %d", s.MaxSAs, s.MaxHalfOpen)
	w.Linef("Total incoming IKEv2 SA Count:    %-7d active:        %-7d negotiating: %d", s.Incoming[0]+s.Incoming[1], s.Incoming[0], s.Incoming[1])
	w.Linef("Total outgoing IKEv2 SA Count:    %-7d active:        %-7d negotiating: %d", s.Outgoing[0]+s.Outgoing[1], s.Outgoing[0], s.Outgoing[1])
	w.Linef("IKEv2 messages: received %d, sent %d, retransmitted %d, answered again %d", c.Received, c.Sent, c.Retransmitted, c.Resent)
	w.Linef("Established IKEv2 SAs: %d, failed: %d, authentication failed: %d", c.Established, c.Failed, c.AuthFailed)
	w.Linef("Rejected IKEv2 Requests: %d (half open now: %d)", c.HalfOpenRefused, c.HalfOpen)
	w.Linef("IKEv2 packets dropped: malformed %d, integrity %d, unknown SPI %d, outside the window %d, fragments %d", c.Malformed, c.DecryptFailed, c.UnknownSPI, c.WindowDropped, c.FragmentsDropped)
	w.Linef("Incoming IKEv2 Cookie Challenged Requests: %d", c.CookiesSent)
	w.Linef("    rejected: %d", c.CookiesBad)
	w.Linef("Redirects: sent %d, followed %d, ignored %d; callers that no gateway had room for: %d", c.RedirectsSent, c.RedirectsFollowed, c.RedirectsIgnored, c.RedirectsRefused)
	w.Linef("IKEv2 SAs: up %d, down %d, rekeyed %d, failed %d", s.IKEUps, s.IKEDowns, s.IKERekeys, s.IKEFailures)
	w.Linef("Child SAs: up %d, down %d, rekeyed %d, failed %d", s.ChildUps, s.ChildDowns, s.ChildRekeys, s.ChildFailures)
	w.Linef("Configurations: CFG_SET sent %d, received %d, ignored %d, unknown attributes %d; IKEv2 SAs with one from us: %d", c.ConfigsSent, c.ConfigsReceived, c.ConfigsIgnored,
		c.UnknownAttributes, s.ConfigurationSent)
}

// date is a moment as the certificate tables write it.
func date(t time.Time) string { return t.UTC().Format("15:04:05 MST Jan 2 2006") }
