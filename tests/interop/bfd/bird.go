package bfd

import (
	"strconv"
	"strings"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

func init() {
	matrix.Register(matrix.Case{
		Name: "bfd/bird", Group: "BFD", Peer: "BIRD", Title: "BFD sessions with BIRD", Timeout: 6 * time.Minute, Packages: []string{"bird2"},
		Rows: rows(false), Run: func(r *matrix.Run) { begin(r, startBIRD).check() },
	})
}

const birdConf = `
router id 192.0.2.2;
protocol device {}
protocol bfd hears {
  interface "eth0" { min rx interval 100 ms; min tx interval 150 ms; idle tx interval 1 s; multiplier 4; };
  multihop { min rx interval 200 ms; min tx interval 200 ms; idle tx interval 1 s; multiplier 3; };
  neighbor 192.0.2.1 dev "eth0" local 192.0.2.2;
  neighbor 2001:db8::1 dev "eth0" local 2001:db8::2;
  neighbor 10.0.0.1 local 203.0.113.2 multihop on;
}
protocol bgp felloe {
  local 192.0.2.2 as 65002;
  neighbor 192.0.2.1 as 65001;
  connect retry time 3;
  error wait time 1, 3;
  hold time 90;
  bfd on;
  ipv4 { import all; export none; };
}
`

type bird struct {
	*peers.Namespace
	w   *world
	ctl string
}

func startBIRD(w *world, n *peers.Namespace) peer {
	b := bird{n, w, w.Dir() + "/bird.ctl"}
	conf := w.File("bird.conf", "log \""+w.Dir()+"/bird.out\" all;\n"+birdConf)
	n.Start(peers.Command{Name: "bird", Args: []string{"/usr/sbin/bird", "-f", "-c", conf, "-s", b.ctl}})
	w.Version("BIRD", peers.PackageVersion("bird2"))
	w.Evidence(func() string {
		out, _ := n.Try("birdc -s " + b.ctl + " show bfd sessions; birdc -s " + b.ctl + " show protocols all; tail -n 60 " + w.Dir() + "/bird.out")
		return out
	})
	return b
}

// sessions reads lines such as "192.0.2.1  eth0  Up  06:12:33.051  0.150  0.300".
func (b bird) sessions() (map[string]theirs, error) {
	out, err := b.Try("birdc -s " + b.ctl + " show bfd sessions")
	if err != nil {
		return nil, err
	}
	seconds := func(s string) time.Duration {
		f, _ := strconv.ParseFloat(s, 64)
		return time.Duration(f*1000+0.5) * time.Millisecond
	}
	m := map[string]theirs{}
	for _, line := range strings.Split(out, "\n") {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.ContainsAny(f[0], ".:") {
			continue
		}
		m[f[0]] = theirs{up: f[2] == "Up", interval: seconds(f[len(f)-2]), detection: seconds(f[len(f)-1])}
	}
	return m, nil
}
