package pid1

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// NIC is an Ethernet device of the machine.
type NIC struct {
	Name   string // the kernel's: eth0
	MAC    [6]byte
	MTU    int
	Driver string // virtio_net
	Path   string // PCI address, or what takes its place on another bus
}

// nicWait bounds how long drivers may take to bring their devices into being.
const nicWait = 3 * time.Second

var pciAddress = regexp.MustCompile(`[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]`)

// findNICs lists Ethernet devices that have hardware behind them, in PCI order; devices on other buses come after.
func findNICs(sys string) []NIC {
	type sortable struct {
		NIC
		key string
	}
	var found []sortable
	for _, dir := range sortedGlob(filepath.Join(sys, "class/net/*")) {
		device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
		if err != nil || readTrim(filepath.Join(dir, "type")) != "1" { // ARPHRD_ETHER
			continue
		}
		mac, err := net.ParseMAC(readTrim(filepath.Join(dir, "address")))
		if err != nil || len(mac) != 6 {
			continue
		}
		n := NIC{Name: filepath.Base(dir), MAC: [6]byte(mac)}
		n.MTU, _ = strconv.Atoi(readTrim(filepath.Join(dir, "mtu")))
		if driver, err := filepath.EvalSymlinks(filepath.Join(device, "driver")); err == nil {
			n.Driver = filepath.Base(driver)
		}
		// The last PCI address of the path is the device's own; bridges stand before it.
		if all := pciAddress.FindAllString(device, -1); all != nil {
			n.Path = all[len(all)-1]
			found = append(found, sortable{n, "0" + n.Path})
		} else {
			n.Path = filepath.Base(device)
			found = append(found, sortable{n, "1" + naturalKey(device)})
		}
	}
	sort.Slice(found, func(i, j int) bool {
		if found[i].key != found[j].key {
			return found[i].key < found[j].key
		}
		return naturalKey(found[i].Name) < naturalKey(found[j].Name)
	})
	out := make([]NIC, len(found))
	for i, f := range found {
		out[i] = f.NIC
	}
	return out
}

var digits = regexp.MustCompile(`[0-9]+`)

// naturalKey makes "eth10" sort after "eth9".
func naturalKey(s string) string {
	return digits.ReplaceAllStringFunc(s, func(d string) string {
		return strings.Repeat("0", max(0, 20-len(d))) + d
	})
}

// waitNICs returns the NICs once every PCI network function with a driver has one, or when the time is over.
func waitNICs(sys string, limit time.Duration) []NIC {
	for deadline := time.Now().Add(limit); pendingNICs(sys) > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	return findNICs(sys)
}

// pendingNICs counts PCI network functions whose driver is bound but whose interface is not there yet.
func pendingNICs(sys string) int {
	pending := 0
	for _, dev := range sortedGlob(filepath.Join(sys, "bus/pci/devices/*")) {
		if !strings.HasPrefix(readTrim(filepath.Join(dev, "class")), "0x02") {
			continue
		}
		if _, err := os.Stat(filepath.Join(dev, "driver")); err != nil {
			continue
		}
		direct := sortedGlob(filepath.Join(dev, "net/*"))
		virtio := sortedGlob(filepath.Join(dev, "virtio*/net/*"))
		if len(direct)+len(virtio) == 0 {
			pending++
		}
	}
	return pending
}

// linkUp raises a NIC without giving it anything to say: no ARP, no address.
func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("cannot read the flags of %s: %w", name, err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP | unix.IFF_NOARP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("cannot bring %s up: %w", name, err)
	}
	return nil
}

func readTrim(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
