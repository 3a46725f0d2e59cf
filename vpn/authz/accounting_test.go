package authz

import (
	"testing"
	"time"

	"felloe/vpn/ikev2"
)

func TestASessionIsAccountedOnceFromItsBeginningToItsEnd(t *testing.T) {
	var a Accounting
	a.Start(now, Session{SA: 7, Profile: "prof", Peer: ikev2.FQDNIdentity("spoke")})
	a.Carried(7, Traffic{1, 100, 2, 200})
	if l := a.Live(); len(l) != 1 || l[0].Duration(now.Add(time.Minute)) != time.Minute {
		t.Errorf("%+v", l)
	}
	s, ok := a.Stop(now.Add(time.Hour), 7, "peer deleted it")
	if !ok || s.Duration(now.Add(9*time.Hour)) != time.Hour || s.Traffic != (Traffic{1, 100, 2, 200}) || s.Cause != "peer deleted it" {
		t.Errorf("%+v", s)
	}
	if _, ok := a.Stop(now, 7, "again"); ok || len(a.Live()) != 0 || len(a.Ended()) != 1 {
		t.Error("accounted twice")
	}
	for i := range 1000 {
		a.Start(now, Session{SA: ikev2.SAID(i)})
		a.Carried(ikev2.SAID(i), Traffic{BytesIn: 1})
		a.Stop(now, ikev2.SAID(i), "")
	}
	n, total := a.Total()
	if len(a.Ended()) != keepEnded || n != 1001 || total.BytesIn != 1100 || a.Ended()[keepEnded-1].SA != 999 {
		t.Errorf("%d remembered, %d in all, %+v", len(a.Ended()), n, total)
	}
}
