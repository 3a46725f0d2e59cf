package show

import (
	"fmt"

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
	ID         uint64       `json:"tunnel_id"`
	Local      string       `json:"local"`
	Remote     string       `json:"remote"`
	FVRF       string       `json:"fvrf"`
	IVRF       string       `json:"ivrf"`
	Status     string       `json:"status"`
	Profile    string       `json:"profile"`
	Encryption string       `json:"encryption"`
	KeyBits    int          `json:"key_bits"`
	PRF        string       `json:"prf"`
	Hash       string       `json:"hash"`
	Group      int          `json:"dh_group"`
	AuthSign   string       `json:"auth_sign"`
	AuthVerify string       `json:"auth_verify"`
	Lifetime   int64        `json:"lifetime"`
	Active     int64        `json:"active"`
	LocalSPI   string       `json:"local_spi"`
	RemoteSPI  string       `json:"remote_spi"`
	LocalID    string       `json:"local_id"`
	RemoteID   string       `json:"remote_id"`
	Initiator  bool         `json:"initiator"`
	Sent       uint32       `json:"next_request_sent"`
	Received   uint32       `json:"next_request_received"`
	Queued     int          `json:"queued"`
	Window     int          `json:"window"`
	DPD        int64        `json:"dpd_interval"`
	DPDRetry   int64        `json:"dpd_retry"`
	DPDMode    string       `json:"dpd_mode,omitempty"`
	Fragments  bool         `json:"fragmentation"`
	NATLocal   bool         `json:"nat_local"`
	NATRemote  bool         `json:"nat_remote"`
	Children   []IKEv2Child `json:"children"`
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

// NewIKEv2SAs makes the answer of a snapshot.
func NewIKEv2SAs(infos []ikev2.SAInfo, detailed bool) IKEv2SAs {
	out := IKEv2SAs{SAs: []IKEv2SA{}, detailed: detailed}
	for _, s := range infos {
		sa := IKEv2SA{
			ID: uint64(s.ID), Local: s.Local.String(), Remote: s.Remote.String(), FVRF: vrfName(s.VRF), IVRF: vrfName(s.IVRF), Status: s.State,
			Profile: s.Profile, Encryption: s.Suite.Encr.IOS(), KeyBits: s.Suite.KeyBits, PRF: s.Suite.PRF.IOS(), Hash: s.Suite.Integ.IOS(),
			Group: int(s.Suite.Group), AuthSign: auth(s.AuthSign), AuthVerify: auth(s.AuthVerify), Lifetime: seconds(s.Lifetime), Active: seconds(s.Active),
			LocalSPI: fmt.Sprintf("%016X", s.SPIr), RemoteSPI: fmt.Sprintf("%016X", s.SPIi), LocalID: s.LocalID.String(), RemoteID: s.RemoteID.String(),
			Initiator: s.Initiator, Sent: s.SendMessageID, Received: s.RecvMessageID, Queued: s.Queued, Window: s.Window,
			DPD: seconds(s.DPD.Interval), DPDRetry: seconds(s.DPD.Retry), Fragments: s.Fragmentation, NATLocal: s.NAT.Local, NATRemote: s.NAT.Remote,
			Children: []IKEv2Child{},
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
	if len(r.SAs) == 0 {
		return
	}
	w.Line(" IPv4/IPv6 Crypto IKEv2  SA")
	w.Line("")
	for _, s := range r.SAs {
		w.Line("Tunnel-id Local                 Remote                fvrf/ivrf            Status")
		w.Linef("%-9d %-21s %-21s %-20s %s", s.ID, s.Local, s.Remote, s.FVRF+"/"+s.IVRF, s.Status)
		w.Linef("      Encr: %s, keysize: %d, PRF: %s, Hash: %s, DH Grp:%d, Auth sign: %s, Auth verify: %s", s.Encryption, s.KeyBits, s.PRF, s.Hash, s.Group, s.AuthSign, s.AuthVerify)
		w.Linef("      Life/Active Time: %d/%d sec", s.Lifetime, s.Active)
		if r.detailed {
			w.Linef("      Local spi: %s       Remote spi: %s", s.LocalSPI, s.RemoteSPI)
			w.Linef("      Profile: %s", s.Profile)
			w.Linef("      Local id: %s", s.LocalID)
			w.Linef("      Remote id: %s", s.RemoteID)
			w.Linef("      Local next msg id:  %-14d Remote next msg id: %d", s.Sent, s.Received)
			w.Linef("      Local req queued:   %-14d Local window:       %d", s.Queued, s.Window)
			if s.DPD > 0 {
				w.Linef("      DPD configured for %d seconds, retry %d, %s", s.DPD, s.DPDRetry, s.DPDMode)
			} else {
				w.Line("      DPD not configured")
			}
			w.Linef("      Fragmentation %s", map[bool]string{true: "negotiated", false: "not negotiated"}[s.Fragments])
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
			for _, c := range s.Children {
				w.Linef("      Child sa: %s %s %s %s, ESN: %s", c.Policy, c.State, c.Suite, c.Mode, yes(c.ESN))
				w.Linef("          local selector  %v", c.Local)
				w.Linef("          remote selector %v", c.Remote)
				w.Linef("          ESP spi in/out: %s/%s", c.SPIIn, c.SPIOut)
			}
		}
		w.Line("")
	}
}
