package show

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"felloe/manage/cli"
	"felloe/vpn/authz"
	"felloe/vpn/ikev2"
)

// Accounting is `show crypto session accounting`: the accounts of sessions whose profiles ask for them.
type Accounting struct {
	Open   []Account `json:"open"`
	Closed []Account `json:"closed"` // the last ones, the oldest first
	Count  uint64    `json:"closed_in_all"`
	Total  Carried   `json:"carried_by_the_closed"`
}

// Account is a session's.
type Account struct {
	Session   uint64         `json:"session"`
	Profile   string         `json:"profile"`
	Policy    string         `json:"policy,omitempty"`
	VRF       string         `json:"vrf"`
	Identity  string         `json:"identity"`
	Remote    netip.AddrPort `json:"remote"`
	Addresses []netip.Prefix `json:"addresses"`
	Began     time.Time      `json:"began"`
	Ended     time.Time      `json:"ended,omitzero"`
	Seconds   int64          `json:"seconds"`
	Carried   Carried        `json:"carried"`
	Reason    string         `json:"reason,omitempty"`
}

// Carried is what went through sessions.
type Carried struct {
	PacketsIn  uint64 `json:"packets_in"`
	BytesIn    uint64 `json:"bytes_in"`
	PacketsOut uint64 `json:"packets_out"`
	BytesOut   uint64 `json:"bytes_out"`
}

// NewAccounting makes the answer; carried is what an open session has carried until now.
func NewAccounting(a *authz.Accounting, carried func(ikev2.SAID) authz.Traffic, now time.Time) Accounting {
	n, total := a.Total()
	out := Accounting{Open: []Account{}, Closed: []Account{}, Count: n, Total: Carried(total)}
	account := func(s authz.Session) Account {
		return Account{Session: uint64(s.SA), Profile: s.Profile, Policy: s.Policy, VRF: vrfName(s.VRF), Identity: s.Peer.String(), Remote: s.Remote,
			Addresses: append([]netip.Prefix{}, s.Addresses...), Began: s.Began, Ended: s.Ended, Seconds: seconds(s.Duration(now)), Carried: Carried(s.Traffic), Reason: s.Cause}
	}
	for _, s := range a.Live() {
		s.Traffic = carried(s.SA)
		out.Open = append(out.Open, account(s))
	}
	for _, s := range a.Ended() {
		out.Closed = append(out.Closed, account(s))
	}
	return out
}

// Text implements cli.Result.
func (r Accounting) Text(w *cli.Table) {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	list := func(title string, accounts []Account, last string) {
		if len(accounts) == 0 {
			return
		}
		w.Linef("%s:", title)
		head := []string{">Session", "Identity", "Peer", "Address", ">Duration", ">Packets in", ">Bytes in", ">Packets out", ">Bytes out"}
		if last != "" {
			head = append(head, last)
		}
		var rows [][]string
		for _, a := range accounts {
			var addresses []string
			for _, p := range a.Addresses {
				addresses = append(addresses, p.Addr().String())
			}
			row := []string{number(a.Session), a.Identity, slash(a.Remote), or(strings.Join(addresses, ", "), "-"), Clock(time.Duration(a.Seconds) * time.Second),
				number(a.Carried.PacketsIn), number(a.Carried.BytesIn), number(a.Carried.PacketsOut), number(a.Carried.BytesOut)}
			if last != "" {
				row = append(row, cli.Plain(a.Reason, ""))
			}
			rows = append(rows, row)
		}
		w.Columns(head, rows)
		w.Line("")
	}
	list("Open accounts", r.Open, "")
	list("Closed accounts", r.Closed, "Reason")
	w.Linef("Accounts: %d open, %d closed, which carried %d packets with %d bytes in and %d with %d out", len(r.Open), r.Count,
		r.Total.PacketsIn, r.Total.BytesIn, r.Total.PacketsOut, r.Total.BytesOut)
}
