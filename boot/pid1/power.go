package pid1

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel's ACPI button driver tells of the power button on a generic-netlink multicast group
// (drivers/acpi/event.c): family "acpi_event", group "acpi_mc_group".
const (
	acpiFamily = "acpi_event"
	acpiGroup  = "acpi_mc_group"

	ctrlAttrFamilyName  = 2
	ctrlAttrMcastGroups = 7
	ctrlAttrGroupName   = 1
	ctrlAttrGroupID     = 2
	acpiAttrEvent       = 1
	genlHeader          = unix.SizeofNlMsghdr + 4
)

// watchPower calls pressed when the power button is pressed or the hypervisor asks for an orderly power-off.
func watchPower(ctx context.Context, pressed func()) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if err := joinACPI(fd); err != nil {
		return // no ACPI in this machine: no button
	}
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS) {
			continue
		}
		if err != nil {
			return
		}
		if isPowerButton(buf[:n]) {
			pressed()
		}
	}
}

func joinACPI(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := unix.Sendto(fd, getFamily(acpiFamily), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 8192)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	group, err := groupID(buf[:n], acpiGroup)
	if err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(group))
}

// getFamily is a CTRL_CMD_GETFAMILY request.
func getFamily(name string) []byte {
	attr := append([]byte(name), 0)
	for len(attr)%4 != 0 {
		attr = append(attr, 0)
	}
	b := make([]byte, genlHeader+4, genlHeader+4+len(attr))
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(genlHeader+4+len(attr)))
	le.PutUint16(b[4:], unix.GENL_ID_CTRL)
	le.PutUint16(b[6:], unix.NLM_F_REQUEST)
	le.PutUint32(b[8:], 1)
	b[16], b[17] = unix.CTRL_CMD_GETFAMILY, 1
	le.PutUint16(b[genlHeader:], uint16(4+len(name)+1))
	le.PutUint16(b[genlHeader+2:], ctrlAttrFamilyName)
	return append(b, attr...)
}

// groupID finds a multicast group in the answer to getFamily.
func groupID(msg []byte, name string) (uint32, error) {
	var id uint32
	for kind, body := range genlAttrs(msg) {
		if kind != ctrlAttrMcastGroups {
			continue
		}
		for _, group := range attrs(body) {
			var gotName string
			var gotID uint32
			for k, v := range attrs(group) {
				switch {
				case k == ctrlAttrGroupName:
					gotName = strings.TrimRight(string(v), "\x00")
				case k == ctrlAttrGroupID && len(v) >= 4:
					gotID = binary.LittleEndian.Uint32(v)
				}
			}
			if gotName == name {
				id = gotID
			}
		}
	}
	if id == 0 {
		return 0, fmt.Errorf("the kernel has no netlink group %q", name)
	}
	return id, nil
}

// isPowerButton looks at a struct acpi_genl_event: device_class[20], bus_id[15], type, data.
func isPowerButton(msg []byte) bool {
	for kind, body := range genlAttrs(msg) {
		if kind == acpiAttrEvent && strings.HasPrefix(string(body), "button/power") {
			return true
		}
	}
	return false
}

func genlAttrs(msg []byte) func(yield func(uint16, []byte) bool) {
	if len(msg) < genlHeader {
		return attrs(nil)
	}
	end := int(binary.LittleEndian.Uint32(msg))
	if end < genlHeader || end > len(msg) {
		end = len(msg)
	}
	return attrs(msg[genlHeader:end])
}

// attrs walks netlink attributes; it ends at the first that does not fit.
func attrs(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(binary.LittleEndian.Uint16(b))
			kind := binary.LittleEndian.Uint16(b[2:]) & 0x3fff // flags: nested, byte order
			if n < 4 || n > len(b) || !yield(kind, b[4:n]) {
				return
			}
			b = b[min(len(b), (n+3)&^3):]
		}
	}
}
