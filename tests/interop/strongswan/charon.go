package strongswan

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

// packages are what the host needs for bookworm's strongSwan.
var packages = []string{
	"charon-systemd", "strongswan-swanctl", "libcharon-extra-plugins", "libstrongswan-standard-plugins", "libstrongswan-extra-plugins",
}

// patience is for what takes a moment on an idle machine and must not fail on a busy one.
const patience = time.Minute

// charon is a daemon.
type charon struct {
	*peers.Namespace
	r     *matrix.Run
	name  string
	o     daemon
	dir   string // its configuration and log
	vici  string
	proc  *peers.Process
	flows int
	mark  int // where in the log since looks from
}

// daemon says how one is run.
type daemon struct {
	trixie   bool   // out of the folder with Debian trixie
	raw      bool   // ESP as IP protocol 50: trixie's only
	quiet    bool   // log less, for many sessions
	settings string // more of strongswan.conf's charon section
	libipsec string // more of kernel-libipsec's
}

// client makes the namespace of a strongSwan with this address on the wire, which is the whole of its network, and a
// network behind it.
func client(r *matrix.Run, name string, wan *peers.Switch, lan string, addresses ...string) *peers.Namespace {
	n := r.Namespace(name)
	wan.Attach(n, "eth0", addresses...)
	if lan != "" {
		n.IP("addr", "add", lan, "dev", "lo")
	}
	return n
}

// start starts a daemon in a namespace. Its certificates are added before load.
func start(r *matrix.Run, n *peers.Namespace, name string, o daemon) *charon {
	c := &charon{Namespace: n, r: r, name: name, o: o, dir: filepath.Join(r.Dir(), name), vici: r.Socket(name + ".vici")}
	for _, d := range []string{"x509", "x509ca", "x509crl", "private", "rsa", "ecdsa", "pkcs8", "pkcs12", "pubkey", "conf.d", "x509aa", "x509ac", "x509ocsp", "bliss"} {
		if err := os.MkdirAll(filepath.Join(c.dir, "swanctl", d), 0o755); err != nil {
			r.Fatalf("%v", err)
		}
	}
	c.configure()
	r.File(name+"/client.conf", "swanctl { load = pem pkcs1 pkcs8 x509 pubkey random nonce openssl }\n")
	r.Evidence(func() string { return "log of " + name + ":\n" + last(c.log(), 400) })
	c.run()
	if o.trixie {
		r.Version("strongSwan (Debian trixie)", c.version())
	} else {
		r.Version("strongSwan", c.version())
	}
	return c
}

// configure writes strongswan.conf.
func (c *charon) configure() {
	r, name, o := c.r, c.name, c.o
	level := "default = 1\n ike = 2\n knl = 1"
	if o.quiet {
		level = "default = 0\n ike = 1\n cfg = 0\n enc = 0\n net = 0"
	}
	raw := ""
	if o.raw {
		raw = "raw_esp = yes"
	}
	r.File(name+"/strongswan.conf", fmt.Sprintf(`charon {
 load = random nonce aes aesni sha1 sha2 mgf1 hmac kdf gcm pem pkcs1 pkcs8 pubkey x509 revocation constraints openssl gmp curve25519 drbg kernel-libipsec kernel-netlink socket-default vici updown attr unity counters
 plugins {
  vici { socket = unix://%s }
  kernel-libipsec { allow_peer_ts = yes
   %s
   %s }
  openssl { fips_mode = 0 }
 }
 filelog { f { path = %s/charon.log
  time_format = %%H:%%M:%%S
  %s
  flush_line = yes } }
 %s
}
`, c.vici, raw, o.libipsec, c.dir, level, o.settings))
}

// run starts the process, again after it was stopped.
func (c *charon) run() {
	_ = os.Remove(c.vici)
	env := []string{"STRONGSWAN_CONF=" + c.dir + "/strongswan.conf"}
	args := []string{"/usr/sbin/charon-systemd"}
	if c.o.trixie {
		args = inTrixie(c.r, []string{c.dir, filepath.Dir(c.vici)}, env, args)
	}
	c.proc = c.Start(peers.Command{Name: c.name, Args: args, Env: env})
	c.r.Until(patience, "strongSwan "+c.name+" starts", func() error {
		select {
		case <-c.proc.Done():
			c.r.Fatalf("strongSwan %s has ended:\n%s%s", c.name, c.proc.Log(), last(c.log(), 20))
		default:
		}
		_, err := c.try("--stats")
		return err
	})
}

func (c *charon) version() string {
	v := regexp.MustCompile(`strongSwan ([\d.]+)`).FindStringSubmatch(c.log())
	if v == nil {
		v = regexp.MustCompile(`strongSwan swanctl ([\d.]+)`).FindStringSubmatch(c.log())
	}
	if v == nil {
		return peers.PackageVersion("charon-systemd")
	}
	return v[1]
}

// try runs swanctl.
func (c *charon) try(args string) (string, error) {
	return c.TryFor(3*time.Minute, fmt.Sprintf("STRONGSWAN_CONF=%s/client.conf SWANCTL_DIR=%[1]s/swanctl swanctl %s --uri unix://%s", c.dir, args, c.vici))
}

// ctl is try that must succeed.
func (c *charon) ctl(args string) string {
	out, err := c.try(args)
	if err != nil {
		c.r.Fatalf("%v", err)
	}
	return out
}

// load gives the daemon its configuration.
func (c *charon) load(conf string) {
	c.r.File(c.name+"/swanctl/swanctl.conf", conf)
	c.ctl("--load-all --clear")
}

// up initiates a Child SA, which must succeed.
func (c *charon) up(child string) { c.ctl("--initiate --child " + child + " --timeout 60") }

// refused initiates a Child SA, which must fail; the daemon's log since then has these.
func (c *charon) refused(child string, patterns ...string) {
	c.since()
	out, err := c.try("--initiate --child " + child + " --timeout 60")
	if err == nil {
		c.r.Fatalf("%s came up:\n%s", child, out)
	}
	c.says(patterns...)
}

// down ends an IKE SA and waits for the answer.
func (c *charon) down(ike string) { c.ctl("--terminate --ike " + ike + " --timeout 30") }

// sas expects of the daemon's SAs.
func (c *charon) sas(patterns ...string) string {
	var out string
	c.r.Until(patience, c.name+"'s SAs", func() (err error) {
		if out, err = c.try("--list-sas"); err != nil {
			return err
		}
		return peers.Match(out, patterns...)
	})
	return out
}

func (c *charon) log() string {
	b, _ := os.ReadFile(filepath.Join(c.dir, "charon.log"))
	return string(b)
}

// since has says look only at what is logged from now on.
func (c *charon) since() { c.mark = len(c.log()) }

// says waits for what the daemon logs.
func (c *charon) says(patterns ...string) {
	c.r.Until(patience, c.name+" logs", func() error { return peers.Match(c.log()[c.mark:], patterns...) })
}

// ping sends echo requests through the tunnel; one of the first may be lost while the SAs settle, none of the others.
func (c *charon) ping(from, to string) {
	peers.Expect(c.Namespace, patience, fmt.Sprintf("ping -q -c 2 -i 0.05 -W 0.5 -I %s %s", from, to), ` 0% packet loss`)
}

// flow is echo requests that go on until they are counted.
type flow struct {
	c    *charon
	p    *peers.Process
	what string
}

// flow begins one of a hundred packets a second, once there is an answer.
func (c *charon) flow(from, to string) flow {
	c.ping(from, to)
	c.flows++
	what := from + " to " + to
	return flow{c, c.Start(peers.Command{Name: fmt.Sprintf("%s-ping%d", c.name, c.flows), Args: []string{"ping", "-i", "0.01", "-W", "10", "-I", from, to}}), what}
}

// lossless ends the flow: every packet was answered, and there were this many at least.
func (f flow) lossless(packets int) {
	f.c.r.Sleep(500 * time.Millisecond)
	f.p.Signal(syscall.SIGINT)
	select {
	case <-f.p.Done():
	case <-time.After(patience):
		f.c.r.Fatalf("ping does not end")
	}
	m := regexp.MustCompile(`(\d+) packets transmitted`).FindStringSubmatch(f.p.Log())
	if m == nil {
		f.c.r.Fatalf("ping says nothing:\n%s", f.p.Log())
	}
	sent, _ := strconv.Atoi(m[1])
	seen := map[int]int{}
	for _, a := range regexp.MustCompile(`bytes from .* icmp_seq=(\d+) `).FindAllStringSubmatch(f.p.Log(), -1) {
		n, _ := strconv.Atoi(a[1])
		seen[n]++
	}
	// ping does not wait for the answers to its last packets, which it sent in the quiet half second.
	waiting := sent
	for waiting > 0 && sent-waiting < 45 && seen[waiting] == 0 {
		waiting--
	}
	var bad []string
	for n := 1; n <= waiting; n++ {
		if seen[n] != 1 {
			bad = append(bad, fmt.Sprintf("%d (%d answers)", n, seen[n]))
		}
	}
	f.c.r.Logf("%s: %d packets, %d of the last still under way", f.what, sent, sent-waiting)
	if len(bad) > 0 || sent < packets {
		f.c.r.Fatalf("%s: %d packets sent, %d or more are expected; wrong: %s", f.what, sent, packets, strings.Join(bad, ", "))
	}
}

// unreachable proves that no ping comes through.
func (c *charon) unreachable(from, to string) {
	out, err := c.Try(fmt.Sprintf("ping -q -c 2 -i 0.2 -W 1 -I %s %s", from, to))
	if err == nil {
		c.r.Fatalf("%s reaches %s:\n%s", from, to, out)
	}
}

func last(s string, lines int) string {
	parts := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(parts[max(0, len(parts)-lines):], "\n")
}

// sectionMatches looks at the SAs of one connection.
func sectionMatches(c *charon, ike string, patterns ...string) error {
	out, err := c.try("--list-sas --ike " + ike)
	if err != nil {
		return err
	}
	return peers.Match(out, patterns...)
}
