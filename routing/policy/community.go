package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Well-known communities (RFC 1997, RFC 7999, RFC 8326).
const (
	GracefulShutdown uint32 = 0xffff0000
	Blackhole        uint32 = 0xffff029a
	NoExport         uint32 = 0xffffff01
	NoAdvertise      uint32 = 0xffffff02
	LocalAS          uint32 = 0xffffff03
)

var communityNames = map[uint32]string{
	GracefulShutdown: "graceful-shutdown", Blackhole: "blackhole", NoExport: "no-export", NoAdvertise: "no-advertise", LocalAS: "local-AS",
}

// CommunityText is a community as IOS prints it in the new format.
func CommunityText(c uint32) string {
	if s := communityNames[c]; s != "" {
		return s
	}
	return fmt.Sprintf("%d:%d", c>>16, c&0xffff)
}

// ParseCommunity reads ASN:NN, a number, or the name of a well-known community.
func ParseCommunity(s string) (uint32, error) {
	for c, name := range communityNames {
		if strings.EqualFold(name, s) {
			return c, nil
		}
	}
	if strings.EqualFold(s, "internet") {
		return 0, nil
	}
	as, number, pair := strings.Cut(s, ":")
	if !pair {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("community %q: is not ASN:NN, a number or a well-known name", s)
		}
		return uint32(n), nil
	}
	a, err1 := strconv.ParseUint(as, 10, 16)
	n, err2 := strconv.ParseUint(number, 10, 16)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("community %q: both numbers are 0 to 65535", s)
	}
	return uint32(a<<16 | n), nil
}
