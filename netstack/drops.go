package netstack

import "sync/atomic"

// drop is why a packet ended here.
type drop uint8

const (
	dropNone drop = iota
	dropInterfaceDown
	dropFrame
	dropNotOurMAC
	dropEtherType
	dropMalformed
	dropMartian
	dropSourceRoute
	dropMulticast
	dropBroadcast
	dropLinkLocal
	dropNoRoute
	dropDiscard
	dropUnreachable
	dropTTL
	dropTooBig
	dropNoInterface
	dropNoNeighbour
	dropNeighbourQueue
	dropNeighbourTable
	dropLoop
	dropARP
	dropND
	dropFragment
	dropReassembly
	dropUnknownSPI
	dropReplay
	dropAuth
	dropESP
	dropSeal
	dropNotForTunnel
	dropSelectors
	dropClearGRE
	dropGRE
	dropNoTunnel
	dropGREProtocol
	dropNoSA
	dropNoSession
	dropSessionTable
	dropNoHandler
	dropHostQueue
	dropPort
	dropDown
	dropPanic
	drops
)

var dropNames = [drops]string{
	dropInterfaceDown:  "interface-down",
	dropFrame:          "short-frame",
	dropNotOurMAC:      "not-our-mac",
	dropEtherType:      "unknown-ethertype",
	dropMalformed:      "malformed",
	dropMartian:        "martian",
	dropSourceRoute:    "source-route",
	dropMulticast:      "multicast-not-joined",
	dropBroadcast:      "broadcast",
	dropLinkLocal:      "link-local",
	dropNoRoute:        "no-route",
	dropDiscard:        "discard-route",
	dropUnreachable:    "unreachable-route",
	dropTTL:            "ttl-expired",
	dropTooBig:         "too-big",
	dropNoInterface:    "no-interface",
	dropNoNeighbour:    "no-neighbour",
	dropNeighbourQueue: "neighbour-queue-full",
	dropNeighbourTable: "neighbour-table-full",
	dropLoop:           "tunnel-loop",
	dropARP:            "bad-arp",
	dropND:             "bad-nd",
	dropFragment:       "bad-fragment",
	dropReassembly:     "reassembly-failed",
	dropUnknownSPI:     "unknown-spi",
	dropReplay:         "replay",
	dropAuth:           "bad-icv",
	dropESP:            "bad-esp",
	dropSeal:           "sa-exhausted",
	dropNotForTunnel:   "not-for-tunnel",
	dropSelectors:      "ts-mismatch",
	dropClearGRE:       "clear-gre",
	dropGRE:            "bad-gre",
	dropNoTunnel:       "no-tunnel",
	dropGREProtocol:    "unknown-gre-protocol",
	dropNoSA:           "no-sa",
	dropNoSession:      "no-session",
	dropSessionTable:   "session-table-full",
	dropNoHandler:      "no-handler",
	dropHostQueue:      "host-queue-full",
	dropPort:           "port-unreachable",
	dropDown:           "closed",
	dropPanic:          "panic",
}

func (r drop) String() string { return dropNames[r] }

// dropCounters counts by reason.
type dropCounters [drops]atomic.Uint64

func (c *dropCounters) snapshot() map[string]uint64 {
	m := map[string]uint64{}
	for r := dropNone + 1; r < drops; r++ {
		if n := c[r].Load(); n > 0 {
			m[dropNames[r]] = n
		}
	}
	return m
}
