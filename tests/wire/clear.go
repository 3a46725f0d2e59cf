package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
)

// Kind is what was found.
type Kind string

const (
	// GRE is a packet of IP protocol 47.
	GRE Kind = "gre"
	// Address is an address in its four or sixteen bytes.
	Address Kind = "address"
	// Text is an address spelled out.
	Text Kind = "text"
)

// Finding is something that must not be on an underlay link.
type Finding struct {
	Frame  int
	Offset int // of the first byte, from the start of the Ethernet header
	Kind   Kind
	Addr   netip.Addr // not for GRE
	// Opaque tells that it lies in ESP or IKE, where chance puts addresses too.
	Opaque bool
}

func (f Finding) String() string {
	where := ""
	if f.Opaque {
		where = " (inside of ESP or IKE)"
	}
	switch f.Kind {
	case GRE:
		return fmt.Sprintf("frame %d, offset %d: a GRE packet", f.Frame, f.Offset)
	case Text:
		return fmt.Sprintf("frame %d, offset %d: the text %q%s", f.Frame, f.Offset, f.Addr, where)
	}
	return fmt.Sprintf("frame %d, offset %d: the address %s%s", f.Frame, f.Offset, f.Addr, where)
}

// Clear looks for what must not cross an underlay link in clear.
type Clear struct {
	v4 []prefix4
	v6 []netip.Prefix
	// chance is the probability that four random bytes are an address that is looked for.
	chance float64

	Frames int
	Bytes  int64
	// Cut names files that end within a frame.
	Cut []string

	certain []Finding
	lone    []Finding // opaque ones, alone in their frame
	opaque  int64     // offsets looked at in ESP and IKE
}

type prefix4 struct {
	net, mask uint32
}

// maxFindings bounds what is kept of a capture that is wrong all over.
const maxFindings = 10000

// NewClear looks for GRE and for the addresses of the prefixes: those of the overlay and of the LANs behind it.
func NewClear(prefixes ...netip.Prefix) *Clear {
	c := &Clear{}
	for _, p := range prefixes {
		p = p.Masked()
		if !p.Addr().Is4() {
			c.v6 = append(c.v6, p)
			continue
		}
		a := p.Addr().As4()
		mask := uint32(math.MaxUint32)
		if p.Bits() < 32 {
			mask = ^(mask >> p.Bits())
		}
		c.v4 = append(c.v4, prefix4{binary.BigEndian.Uint32(a[:]), mask})
		c.chance += math.Pow(2, -float64(p.Bits()))
	}
	return c
}

// File looks at every frame of a capture. Numbers in findings start anew with every file: use one Clear a file to tell
// them apart.
func (c *Clear) File(name string) error {
	cut, err := EachOf(name, func(n int, frame []byte) error { c.Frame(n, frame); return nil })
	if cut {
		c.Cut = append(c.Cut, name)
	}
	return err
}

// Frame looks at one frame.
func (c *Clear) Frame(n int, frame []byte) {
	c.Frames++
	c.Bytes += int64(len(frame))
	gre, opaque := walk(frame)
	var found []Finding
	if gre >= 0 {
		found = append(found, Finding{Frame: n, Offset: gre, Kind: GRE})
	}
	c.opaque += int64(len(frame) - opaque)
	for i := 0; i+4 <= len(frame); i++ {
		v := binary.BigEndian.Uint32(frame[i:])
		for _, p := range c.v4 {
			if v&p.mask == p.net {
				found = append(found, Finding{n, i, Address, netip.AddrFrom4([4]byte(frame[i : i+4])), i+4 > opaque})
				break
			}
		}
		if i+16 > len(frame) {
			continue
		}
		for _, p := range c.v6 {
			if a := netip.AddrFrom16([16]byte(frame[i : i+16])); p.Contains(a) {
				found = append(found, Finding{n, i, Address, a, i+16 > opaque})
				break
			}
		}
	}
	found = append(found, c.texts(n, frame, opaque)...)
	if len(found) == 1 && found[0].Opaque && found[0].Kind == Address && found[0].Addr.Is4() {
		c.lone = append(c.lone, found[0])
		return
	}
	if room := maxFindings - len(c.certain); room > 0 {
		c.certain = append(c.certain, found[:min(room, len(found))]...)
	}
}

// texts finds addresses that are spelled out.
func (c *Clear) texts(n int, frame []byte, opaque int) (found []Finding) {
	run := func(is func(byte) bool, sep string, least int) {
		for i := 0; i < len(frame); i++ {
			if !is(frame[i]) {
				continue
			}
			j := i
			for j < len(frame) && is(frame[j]) {
				j++
			}
			word := string(frame[i:j])
			// What is in front may run into the address ("via:2001:db8::1"): try from each separator on.
			for from := 0; len(word)-from >= least; {
				text := strings.TrimRight(word[from:], ".")
				if a, err := netip.ParseAddr(text); err == nil {
					if c.listed(a) {
						found = append(found, Finding{n, i + from, Text, a, i+from+len(text) > opaque})
					}
					break
				}
				if strings.HasSuffix(text, ":") && !strings.HasSuffix(text, "::") {
					word = word[:len(word)-1]
					continue
				}
				next := strings.Index(word[from:], sep)
				if next < 0 {
					break
				}
				from += next + 1
			}
			i = j
		}
	}
	run(func(b byte) bool { return b >= '0' && b <= '9' || b == '.' }, ".", len("1.1.1.1"))
	if len(c.v6) > 0 {
		run(func(b byte) bool {
			return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F' || b == ':'
		}, ":", len("1::1"))
	}
	return found
}

func (c *Clear) listed(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		v := binary.BigEndian.Uint32(b[:])
		for _, p := range c.v4 {
			if v&p.mask == p.net {
				return true
			}
		}
		return false
	}
	for _, p := range c.v6 {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Findings are what must not be there. What chance explains is not among them.
func (c *Clear) Findings() []Finding {
	if c.chanceOf(len(c.lone)) >= 1e-6 {
		return c.certain
	}
	return append(append([]Finding(nil), c.certain...), c.lone...)
}

// ByChance is how many lone hits inside of ESP and IKE there were, and how many random bytes would have on average.
func (c *Clear) ByChance() (hits int, expected float64) {
	return len(c.lone), float64(c.opaque) * c.chance
}

// chanceOf is the probability that random bytes have n hits or more (Poisson).
func (c *Clear) chanceOf(n int) float64 {
	if n == 0 {
		return 1
	}
	mean := float64(c.opaque) * c.chance
	term := math.Exp(-mean) // of exactly 0
	tail := 1.0
	for k := range n {
		tail -= term
		term *= mean / float64(k+1)
	}
	// Far out 1 - sum has lost its digits: there the first term bounds it well.
	if tail < 1e-9 {
		lg, _ := math.Lgamma(float64(n + 1))
		return math.Exp(float64(n)*math.Log(mean) - mean - lg)
	}
	return tail
}

// String is a line of summary.
func (c *Clear) String() string {
	hits, expected := c.ByChance()
	return fmt.Sprintf("%d frames, %d bytes: %d findings; %d lone hits inside of ciphertext, %.2g expected by chance", c.Frames, c.Bytes,
		len(c.Findings()), hits, expected)
}
