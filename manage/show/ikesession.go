package show

import (
	"felloe/manage/cli"
)

// IKEv2Sessions is `show crypto ikev2 session`: each IKE SA with its Child SAs.
type IKEv2Sessions struct {
	Sessions []IKEv2Session `json:"sessions"`
	detailed bool
}

// IKEv2Session is an IKE SA with what it has made.
type IKEv2Session struct {
	Status string  `json:"status"` // UP-ACTIVE, UP-IDLE, DOWN-NEGOTIATING
	IKE    IKEv2SA `json:"ikev2_sa"`
}

// NewIKEv2Sessions makes the answer of IKE SAs.
func NewIKEv2Sessions(sas IKEv2SAs, detailed bool) IKEv2Sessions {
	out := IKEv2Sessions{Sessions: []IKEv2Session{}, detailed: detailed}
	for _, s := range sas.SAs {
		x := IKEv2Session{Status: "DOWN-NEGOTIATING", IKE: s}
		switch {
		case s.Status == "READY" && len(s.Children) > 0:
			x.Status = "UP-ACTIVE"
		case s.Status == "READY":
			x.Status = "UP-IDLE"
		}
		out.Sessions = append(out.Sessions, x)
	}
	return out
}

// Text implements cli.Result.
func (r IKEv2Sessions) Text(w *cli.Table) {
	for _, v6 := range []bool{false, true} {
		first := true
		for i := range r.Sessions {
			s := &r.Sessions[i]
			if s.IKE.remote.Addr().Is6() != v6 {
				continue
			}
			if first {
				w.Linef(" %s Crypto IKEv2 Session", map[bool]string{false: "IPv4", true: "IPv6"}[v6])
				w.Line("")
				first = false
			}
			w.Linef("Session-id:%d, Status:%s, IKE count:1, CHILD count:%d", s.IKE.ID, s.Status, len(s.IKE.Children))
			w.Line("")
			children := s.IKE.Children
			s.IKE.Children = nil
			s.IKE.print(w, r.detailed)
			s.IKE.Children = children
			for j := range children {
				children[j].print(w, r.detailed)
			}
			w.Line("")
		}
	}
}
