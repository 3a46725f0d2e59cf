package show

import (
	"net/netip"

	"felloe/manage/cli"
)

// CEF is `show ip cef`: what the data plane really forwards by.
type CEF struct {
	Entries []CEFEntry `json:"entries"`
}

// CEFEntry is one prefix of the FIB.
type CEFEntry struct {
	Prefix   netip.Prefix `json:"prefix"`
	Action   string       `json:"action"` // forward, receive, drop, unreachable
	NextHops []NextHop    `json:"next_hops"`
}

// Text implements cli.Result.
func (c CEF) Text(w *cli.Table) {
	var rows [][]string
	for _, e := range c.Entries {
		if len(e.NextHops) == 0 {
			rows = append(rows, []string{e.Prefix.String(), e.Action, ""})
		}
		name := e.Prefix.String()
		for _, h := range e.NextHops {
			hop := h.Via
			if hop == "" {
				hop = "attached"
			}
			if e.Action == "receive" {
				hop = "receive"
			}
			rows = append(rows, []string{name, hop, h.Interface})
			name = ""
		}
	}
	w.Columns([]string{"Prefix", "Next Hop", "Interface"}, rows)
}
