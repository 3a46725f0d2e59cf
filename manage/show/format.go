package show

import (
	"fmt"
	"net/netip"
	"time"
)

// Clock prints a span as IOS does: 00:01:02, 1d02h, 3w4d.
func Clock(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s < 0:
		return "never"
	case s < 86400:
		return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
	case s < 7*86400:
		return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
	}
	return fmt.Sprintf("%dw%dd", s/(7*86400), s/86400%7)
}

// seconds is a span in whole seconds, never negative.
func seconds(d time.Duration) int64 { return max(int64(d/time.Second), 0) }

// yes is IOS's Y or N.
func yes(b bool) string {
	if b {
		return "Y"
	}
	return "N"
}

// text is the address, or nothing.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// or is s, or the other when s is empty.
func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// vrfName is a VRF as IOS's crypto tables name it.
func vrfName(s string) string {
	if s == "" || s == "default" {
		return "none"
	}
	return s
}
