package ikev2

import (
	"errors"
	"testing"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2/message"
)

func TestTwoRoutersBringUpASession(t *testing.T) {
	w, a, b := connected(t, 1)
	ca, cb := a.child(), b.child()
	if !ca.IKEInitiator || cb.IKEInitiator || !ca.Initiator || ca.Tag != "tag" || cb.Tag != nil || ca.Policy != "Tunnel0" || ca.Profile != "prof" {
		t.Errorf("%+v\n%+v", ca, cb)
	}
	if ca.Peer != AddressIdentity(addrB) || cb.Peer != AddressIdentity(addrA) || ca.AuthMethod != message.AuthSharedKey {
		t.Errorf("identities: %v %v by %v", ca.Peer, cb.Peer, ca.AuthMethod)
	}
	if ca.Mode != esp.Transport || ca.UDPEncap || ca.Local.Port() != 500 || ca.PFS != 0 {
		t.Errorf("%+v", ca)
	}
	if len(ca.TSLocal) != 1 || ca.TSLocal[0].String() != "gre 192.0.2.1" || ca.TSRemote[0].String() != "gre 198.51.100.2" {
		t.Errorf("selectors %v %v", ca.TSLocal, ca.TSRemote)
	}
	if len(ca.KeysIn.Encr) != 36 || string(ca.KeysIn.Encr) != string(cb.KeysOut.Encr) || string(ca.KeysOut.Encr) != string(cb.KeysIn.Encr) ||
		string(ca.KeysIn.Encr) == string(ca.KeysOut.Encr) {
		t.Error("keys do not fit")
	}
	// What lets the initiator send comes after the inbound SA.
	up, sent := -1, -1
	for i, act := range b.actions {
		switch act.(type) {
		case ChildUp:
			up = i
		case Send:
			sent = i
		}
	}
	if up > sent {
		t.Error("the response was sent before the inbound SA was told")
	}
	if w.sent != 4 {
		t.Errorf("%d messages, not 4", w.sent)
	}
	sa := a.e.Snapshot(w.now)[0]
	if sa.State != "READY" || sa.RemoteID != AddressIdentity(addrB) || sa.Suite.String() != "aes-gcm-256 prf-sha256 group 31" || sa.AuthSign.String() != "PSK" ||
		sa.AuthVerify.String() != "PSK" || len(sa.Children) != 1 || sa.SendMessageID != 2 || sa.Lifetime != 24*time.Hour || sa.Policy != "pol" ||
		sa.Window != 1 || !sa.Fragmentation {
		t.Errorf("%+v", sa)
	}
}

func TestDeletingTellsThePeerAndLeavesNothing(t *testing.T) {
	for name, who := range map[string]int{"initiator": 0, "responder": 1} {
		w, a, b := connected(t, 2)
		n, o := a, b
		if who == 1 {
			n, o = b, a
		}
		n.do(n.e.DeleteIKE(w.now, n.sa(), "cleared"))
		if len(n.ups) != 0 || len(n.ikes) != 0 {
			t.Errorf("%s: the Down actions did not come at once", name)
		}
		w.run(time.Minute)
		if len(o.ikes) != 0 || len(o.ups) != 0 {
			t.Errorf("%s: the peer was not told", name)
		}
		if d := o.downs[0]; !errors.Is(d.Err, ErrDeleted) || !d.Established {
			t.Errorf("%s: %+v", name, d)
		}
		w.clean(a)
		w.clean(b)
	}
}
