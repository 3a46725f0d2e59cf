package bfd

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

func init() {
	matrix.Register(matrix.Case{
		Name: "bfd/frr", Group: "BFD", Peer: "FRR bfdd and bgpd", Title: "BFD sessions with FRR", Timeout: 6 * time.Minute, Packages: []string{"frr"},
		Rows: rows(true), Run: func(r *matrix.Run) { begin(r, startFRR).check() },
	})
}

const bfddConf = `
bfd
 profile lan
  detect-multiplier 4
  transmit-interval 150
  receive-interval 100
 !
 profile far
  detect-multiplier 3
  transmit-interval 200
  receive-interval 200
 !
 peer 192.0.2.1 local-address 192.0.2.2 interface eth0
  profile lan
 !
 peer 2001:db8::1 local-address 2001:db8::2 interface eth0
  profile lan
 !
 peer 10.0.0.1 multihop local-address 203.0.113.2
  minimum-ttl 250
  profile far
 !
!
`

const bgpdConf = `
router bgp 65002
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 bfd profile lan
 neighbor 192.0.2.1 timers 30 90
 neighbor 192.0.2.1 timers connect 3
`

type frr struct {
	*peers.Namespace
	w   *world
	dir string
}

func startFRR(w *world, n *peers.Namespace) peer {
	f := frr{n, w, w.Dir() + "/frr"}
	for name, conf := range map[string]string{"zebra": "", "bfdd": bfddConf, "bgpd": bgpdConf} {
		w.File("frr/"+name+".conf", "hostname peer\nlog file "+f.dir+"/"+name+".log\n"+conf)
	}
	w.Command("chown", "-R", "frr:frr", f.dir)
	w.Command("chmod", "755", f.dir)
	for _, name := range []string{"zebra", "bfdd", "bgpd"} {
		args := []string{"/usr/lib/frr/" + name, "-f", f.dir + "/" + name + ".conf", "-i", f.dir + "/" + name + ".pid", "--vty_socket", f.dir, "-z", f.dir + "/zserv.api", "-A", "127.0.0.1"}
		if name == "bfdd" {
			args = append(args, "--bfdctl", f.dir+"/bfdd.sock")
		}
		n.Start(peers.Command{Name: name, Args: args})
		w.Until(20*time.Second, name+" answers", func() error {
			_, err := n.Try("vtysh --vty_socket " + f.dir + " -d " + name + " -c 'show version'")
			return err
		})
	}
	w.Version("FRR (on the host)", peers.PackageVersion("frr"))
	w.Evidence(func() string {
		out, _ := n.Try("vtysh --vty_socket " + f.dir + " -d bfdd -c 'show bfd peers'; vtysh --vty_socket " + f.dir + " -d bgpd -c 'show bgp summary'; tail -n 60 " + f.dir + "/*.log")
		return out
	})
	return f
}

func (f frr) vtysh(commands ...string) (string, error) {
	line := "vtysh --vty_socket " + f.dir + " -d bfdd"
	for _, c := range commands {
		line += " -c '" + c + "'"
	}
	return f.Try(line)
}

func (f frr) sessions() (map[string]theirs, error) {
	out, err := f.vtysh("show bfd peers json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Peer             string `json:"peer"`
		Status           string `json:"status"`
		Transmit         int64  `json:"transmit-interval"`
		RemoteReceive    int64  `json:"remote-receive-interval"`
		Receive          int64  `json:"receive-interval"`
		RemoteTransmit   int64  `json:"remote-transmit-interval"`
		RemoteMultiplier int64  `json:"remote-detect-multiplier"`
		RemoteDiagnostic string `json:"remote-diagnostic"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	m := map[string]theirs{}
	for _, s := range list {
		m[s.Peer] = theirs{up: s.Status == "up", interval: time.Duration(max(s.Transmit, s.RemoteReceive)) * time.Millisecond,
			detection: time.Duration(s.RemoteMultiplier*max(s.Receive, s.RemoteTransmit)) * time.Millisecond, diagnostic: s.RemoteDiagnostic}
	}
	return m, nil
}

func (f frr) shutdown(no string) {
	for _, p := range []string{"192.0.2.1 local-address 192.0.2.2 interface eth0", "2001:db8::1 local-address 2001:db8::2 interface eth0", "10.0.0.1 multihop local-address 203.0.113.2"} {
		if out, err := f.vtysh("configure terminal", "bfd", "peer "+p, no+"shutdown"); err != nil || strings.Contains(out, "%") {
			f.w.Fatalf("%v: %s", err, out)
		}
	}
}

func (f frr) disable() { f.shutdown("") }
func (f frr) enable()  { f.shutdown("no ") }
