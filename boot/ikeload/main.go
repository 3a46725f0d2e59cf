package ikeload

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"felloe/netstack/esp"
	"felloe/vpn/ikev2"
	"felloe/vpn/ikev2/suite"
)

const usage = `usage: felloe bench ike [flags] TARGET: bring many IKEv2 sessions up on a responder, and measure
  -peers N            sessions (100); each has an identity, a Child SA and an inner address of its own
  -parallel N         sessions that begin at a time (16)
  -psk KEY            pre-shared key of all; -psk-file FILE keeps it out of the list of processes
  -identity TEMPLATE  ours, %d is the session's number: spoke%d@example.com is a mail address (the default), else a name
  -proposal LIST      of the IKE SA: aes-gcm-256,sha256,19 or aes-cbc-256,sha256,14; default: a router's
  -esp LIST           of the Child SA: aes-gcm-256 or aes-cbc-256,sha256; default: a router's
  -pfs GROUP          key exchange for rekeyed Child SAs
  -inner PREFIX       inner addresses of the sessions, from the second one on (10.64.0.0/12)
  -virtual-ip FAMILY  have the responder assign them: 4, 6 or 46
  -remote PREFIXES    the responder's side of the selectors (everything)
  -probe ADDRESS      send an echo request to this inner address through each Child SA, until it is answered
  -rekey              replace each Child SA and each IKE SA once
  -hold TIME          keep the sessions so long, before rekeying and again before deleting; an interrupt goes on, two end
  -keep               end without deleting
  -local ADDRESS      ours
  -ports              send from ports 500 and 4500 (root); default: one socket on an ephemeral port
  -port PORT          where the first message goes (500)
  -nat                with -ports: claim a NAT, so that ESP travels in UDP
  -timeout TIME       of a session in each phase (1m)
  -json               the report in JSON on standard output; the table goes to standard error
  -v                  say what IKE warns of
The exit status is 1 when a session failed or was lost.
`

// Main is `felloe bench ike`: it returns the process's exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	err := run(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 2
	case err != nil:
		fmt.Fprintln(stderr, "felloe bench ike:", err)
		return 1
	}
	return 0
}

// settings are the flags.
type settings struct {
	Options
	ports, asJSON bool
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("felloe bench ike", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { _, _ = io.WriteString(stderr, usage) }
	f.IntVar(&s.Peers, "peers", 100, "")
	f.IntVar(&s.Parallel, "parallel", 16, "")
	psk := f.String("psk", "", "")
	pskFile := f.String("psk-file", "", "")
	identity := f.String("identity", "spoke%d@example.com", "")
	proposal := f.String("proposal", "", "")
	child := f.String("esp", "", "")
	pfs := f.Int("pfs", 0, "")
	inner := f.String("inner", "10.64.0.0/12", "")
	virtual := f.String("virtual-ip", "", "")
	remote := f.String("remote", "", "")
	f.TextVar(&s.Probe, "probe", netip.Addr{}, "")
	f.BoolVar(&s.Rekey, "rekey", false, "")
	f.DurationVar(&s.Hold, "hold", 0, "")
	f.BoolVar(&s.Keep, "keep", false, "")
	f.TextVar(&s.Local, "local", netip.Addr{}, "")
	f.BoolVar(&s.ports, "ports", false, "")
	port := f.Uint("port", ikePort, "")
	f.BoolVar(&s.UDP, "nat", false, "")
	f.DurationVar(&s.Timeout, "timeout", time.Minute, "")
	f.BoolVar(&s.asJSON, "json", false, "")
	verbose := f.Bool("v", false, "")
	if err := f.Parse(args); err != nil {
		return s, flag.ErrHelp
	}
	if f.NArg() != 1 {
		f.Usage()
		return s, flag.ErrHelp
	}
	if s.Port = uint16(*port); *port != ikePort && *port != nattPort {
		return s, fmt.Errorf("-port %d: IKE has the ports 500 and 4500", *port)
	}
	s.UDP = s.UDP || !s.ports
	key := []byte(*psk)
	if *pskFile != "" {
		b, err := os.ReadFile(*pskFile)
		if err != nil {
			return s, err
		}
		key = []byte(strings.TrimRight(string(b), "\r\n"))
	}
	if len(key) == 0 {
		return s, errors.New("there is no pre-shared key: -psk KEY or -psk-file FILE")
	}
	s.Key = key
	if s.Peers > 1 && strings.Count(*identity, "%d") != 1 {
		return s, fmt.Errorf("-identity %q has to say once where the session's number goes: %%d", *identity)
	}
	s.Identity = func(n int) ikev2.Identity {
		name := strings.Replace(*identity, "%d", strconv.Itoa(n), 1)
		if strings.Contains(name, "@") {
			return ikev2.EmailIdentity(name)
		}
		return ikev2.FQDNIdentity(name)
	}
	var err error
	if s.Proposal, err = parseProposal(*proposal); err != nil {
		return s, fmt.Errorf("-proposal %s: %w", *proposal, err)
	}
	if s.ESP, err = parseESP(*child); err != nil {
		return s, fmt.Errorf("-esp %s: %w", *child, err)
	}
	if *pfs != 0 {
		s.ESP.Groups = []suite.Group{suite.Group(*pfs)}
	}
	if s.Inner, err = netip.ParsePrefix(*inner); err != nil {
		return s, fmt.Errorf("-inner: %w", err)
	}
	s.Inner = s.Inner.Masked()
	switch *virtual {
	case "":
	case "4":
		s.VirtualIP = []netip.Addr{netip.IPv4Unspecified()}
	case "6":
		s.VirtualIP = []netip.Addr{netip.IPv6Unspecified()}
	case "46":
		s.VirtualIP = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	default:
		return s, fmt.Errorf("-virtual-ip %s: 4, 6 or 46", *virtual)
	}
	for _, p := range strings.FieldsFunc(*remote, comma) {
		r, err := netip.ParsePrefix(p)
		if err != nil {
			return s, fmt.Errorf("-remote: %w", err)
		}
		s.Remote = append(s.Remote, r)
	}
	target, err := net.ResolveIPAddr("ip", f.Arg(0))
	if err != nil {
		return s, err
	}
	a, _ := netip.AddrFromSlice(target.IP)
	s.Target = a.Unmap().WithZone(target.Zone)
	if *verbose {
		s.Log = func(line string) { fmt.Fprintln(stderr, line) }
	}
	return s, nil
}

func comma(r rune) bool { return r == ',' || r == ' ' }

// parseProposal reads "encryption,hash,group", in any number and order of each.
func parseProposal(s string) (ikev2.IKEProposal, error) {
	p := ikev2.IKEProposal{Name: "load"}
	if s == "" {
		return p, nil
	}
	for _, w := range strings.FieldsFunc(s, comma) {
		if e, bits, err := suite.ParseEncr(w); err == nil {
			p.Encryption = append(p.Encryption, ikev2.Encryption{ID: e, Bits: bits})
			continue
		}
		if g, err := strconv.ParseUint(w, 10, 16); err == nil {
			p.Groups = append(p.Groups, suite.Group(g))
			continue
		}
		prf, err := suite.ParsePRF(w)
		if err != nil {
			return p, fmt.Errorf("%q is no encryption, hash or group", w)
		}
		p.PRF = append(p.PRF, prf)
		if i, err := suite.ParseInteg(w); err == nil {
			p.Integrity = append(p.Integrity, i)
		}
	}
	if len(p.Encryption) == 0 || len(p.PRF) == 0 || len(p.Groups) == 0 {
		return p, errors.New("it takes an encryption, a hash and a group")
	}
	return p, nil
}

// parseESP reads "encryption" or "encryption,hash".
func parseESP(s string) (ikev2.ESPProposal, error) {
	var p ikev2.ESPProposal
	words := strings.FieldsFunc(s, comma)
	if len(words) == 0 {
		return p, nil
	}
	e, bits, err := suite.ParseEncr(words[0])
	if err != nil {
		return p, err
	}
	one := esp.Suite{Encr: esp.Encr(e), KeyBits: bits}
	if len(words) > 1 {
		i, err := suite.ParseInteg(words[1])
		if err != nil {
			return p, err
		}
		one.Integ = esp.Integ(i)
	}
	p.Suites = []esp.Suite{one}
	return p, one.Check()
}

func run(args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	sockets, err := Listen(s.Local, s.Target, s.ports, !s.UDP)
	if err != nil {
		return err
	}
	defer sockets.Close()
	s.Local = sockets.Local()
	table := stdout
	if s.asJSON {
		table = stderr
	}
	s.Progress = func(line string) { fmt.Fprintln(table, line) }
	l, err := New(s.Options, sockets)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals, next := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go interrupts(signals, next, stop)
	fmt.Fprintf(table, "%d sessions with %v, %d at a time, from %v\n%s\n", s.Peers, s.Target, max(s.Parallel, 1), s.Local, Header())
	r := l.Run(ctx, next)
	r.Sums(table)
	if n, err := sockets.SendErrors(); n > 0 {
		fmt.Fprintf(table, "%d datagrams were not sent: %v\n", n, err)
	}
	if s.asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	}
	if !r.Good() {
		return errors.New("not every session came through")
	}
	return nil
}
