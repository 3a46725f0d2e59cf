package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	errTruncated = errors.New("the answer is cut off")
	errNotOurs   = errors.New("an answer to another question")
)

func qtype(v6 bool) dnsmessage.Type {
	if v6 {
		return dnsmessage.TypeAAAA
	}
	return dnsmessage.TypeA
}

// question is a query for a name's addresses.
func question(id uint16, name string, v6 bool) ([]byte, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrName, name)
	}
	b := dnsmessage.NewBuilder(make([]byte, 0, 512), dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(dnsmessage.Question{Name: n, Type: qtype(v6), Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	return b.Finish()
}

// answer is what a server says of a name.
type answer struct {
	record
	ttl time.Duration
}

// read takes a server's answer apart. The name may be another one's alias, and that again.
func read(b []byte, id uint16, name string, v6 bool) (*answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return nil, err
	}
	if h.ID != id || !h.Response || h.OpCode != 0 {
		return nil, errNotOurs
	}
	q, err := p.Question()
	if err != nil || !same(q.Name, name) || q.Type != qtype(v6) || q.Class != dnsmessage.ClassINET {
		return nil, errNotOurs
	}
	switch {
	case h.Truncated:
		return nil, errTruncated
	case h.RCode == dnsmessage.RCodeNameError:
		return &answer{record: record{err: ErrNotFound}, ttl: negativeTTL}, nil
	case h.RCode != dnsmessage.RCodeSuccess:
		return nil, fmt.Errorf("the server says %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	out := &answer{ttl: maxTTL}
	alias := map[string]string{}
	type found struct {
		name string
		addr netip.Addr
		ttl  time.Duration
	}
	var list []found
	ttls := map[string]time.Duration{}
	for n := 0; n < 256; n++ {
		rh, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, err
		}
		owner := strings.ToLower(rh.Name.String())
		ttl := min(time.Duration(rh.TTL)*time.Second, maxTTL)
		if rh.TTL>>31 != 0 {
			ttl = 0 // RFC 2181 §8
		}
		switch {
		case rh.Class != dnsmessage.ClassINET:
			err = p.SkipAnswer()
		case rh.Type == dnsmessage.TypeCNAME:
			var c dnsmessage.CNAMEResource
			if c, err = p.CNAMEResource(); err == nil {
				alias[owner], ttls[owner] = strings.ToLower(c.CNAME.String()), ttl
			}
		case rh.Type == dnsmessage.TypeA && !v6:
			var a dnsmessage.AResource
			if a, err = p.AResource(); err == nil {
				list = append(list, found{owner, netip.AddrFrom4(a.A), ttl})
			}
		case rh.Type == dnsmessage.TypeAAAA && v6:
			var a dnsmessage.AAAAResource
			if a, err = p.AAAAResource(); err == nil {
				list = append(list, found{owner, netip.AddrFrom16(a.AAAA), ttl})
			}
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return nil, err
		}
	}
	at := strings.ToLower(name) + "."
	for range 16 {
		for _, x := range list {
			if x.name == at && usable(x.addr) {
				out.addrs = append(out.addrs, x.addr)
				out.ttl = min(out.ttl, x.ttl)
			}
		}
		next, is := alias[at]
		if len(out.addrs) > 0 || !is {
			break
		}
		out.ttl = min(out.ttl, ttls[at])
		at = next
	}
	if len(out.addrs) == 0 {
		out.err, out.ttl = ErrNoAddress, negativeTTL
	}
	return out, nil
}

// usable says whether an address can be somebody's.
func usable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.Is4In6()
}

func same(n dnsmessage.Name, name string) bool {
	return strings.EqualFold(strings.TrimSuffix(n.String(), "."), name)
}
