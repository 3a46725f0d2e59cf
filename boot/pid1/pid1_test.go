package pid1

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree makes files (text) and symlinks ("-> target") under a directory.
func tree(t testing.TB, content map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range content {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.MkdirAll(filepath.Join(root, target), 0o755)
			if err == nil {
				err = os.Symlink(filepath.Join(root, target), name)
			}
		} else {
			err = os.WriteFile(name, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func nic(content map[string]string, name, device, kind, mac string) {
	content["class/net/"+name+"/address"] = mac + "\n"
	content["class/net/"+name+"/type"] = kind + "\n"
	content["class/net/"+name+"/mtu"] = "1500\n"
	if device != "" {
		content["class/net/"+name+"/device"] = "-> " + device
	}
}

func TestNICsAreInPCIOrderWhateverTheirNames(t *testing.T) {
	content := map[string]string{}
	nic(content, "eth0", "devices/pci0000:00/0000:00:1d.0/virtio3", "1", "52:54:00:00:00:03")
	nic(content, "eth1", "devices/pci0000:00/0000:00:02.0/virtio0", "1", "52:54:00:00:00:01")
	nic(content, "eth2", "devices/pci0000:00/0000:00:04.0/0000:01:00.0/virtio9", "1", "52:54:00:00:00:05")
	nic(content, "eth10", "devices/pci0000:00/0000:00:03.0", "1", "52:54:00:00:00:02")
	nic(content, "eth4", "devices/vmbus/channel-10", "1", "52:54:00:00:00:07")
	nic(content, "eth5", "devices/vmbus/channel-9", "1", "52:54:00:00:00:06")
	nic(content, "lo", "", "772", "00:00:00:00:00:00")
	nic(content, "tap0", "", "1", "52:54:00:00:00:ff")
	var got []string
	for _, n := range findNICs(tree(t, content)) {
		got = append(got, fmt.Sprintf("%s/%d", n.Name, n.MAC[5]))
		if n.MTU != 1500 {
			t.Errorf("%s: MTU %d", n.Name, n.MTU)
		}
	}
	want := []string{"eth1/1", "eth10/2", "eth0/3", "eth2/5", "eth5/6", "eth4/7"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAPCIFunctionWithADriverButNoInterfaceIsWaitedFor(t *testing.T) {
	sys := tree(t, map[string]string{
		"bus/pci/devices/0000:00:02.0/class":              "0x020000\n",
		"bus/pci/devices/0000:00:02.0/driver":             "-> drivers/virtio-pci",
		"bus/pci/devices/0000:00:03.0/class":              "0x020000\n",
		"bus/pci/devices/0000:00:03.0/driver":             "-> drivers/virtio-pci2",
		"bus/pci/devices/0000:00:03.0/virtio1/net/eth0/x": "",
		"bus/pci/devices/0000:00:04.0/class":              "0x010000\n",
		"bus/pci/devices/0000:00:05.0/class":              "0x020000\n",
	})
	if n := pendingNICs(sys); n != 1 {
		t.Errorf("%d pending, want 1", n)
	}
}

func TestModulesAreLoadedAfterWhatTheyNeed(t *testing.T) {
	x := parseModuleIndex("/lib/modules/6", `kernel/a/virtio_net.ko: kernel/b/net_failover.ko kernel/c/failover.ko kernel/d/virtio.ko
kernel/b/net_failover.ko: kernel/c/failover.ko
kernel/h/virtio-rng.ko: kernel/d/virtio.ko
`, `alias virtio:d00000001v* virtio_net
alias acpi*:PNP0C0C:* button
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias broken
`)
	got := strings.Join(x.order("virtio_net"), " ")
	if got != "kernel/d/virtio.ko kernel/c/failover.ko kernel/b/net_failover.ko kernel/a/virtio_net.ko" {
		t.Error(got)
	}
	if x.order("virtio_rng") == nil || x.order("absent") != nil {
		t.Error("names with a dash are names with an underscore; absent modules have no order")
	}
	for modalias, want := range map[string]string{
		"virtio:d00000001v00001AF4":                             "virtio_net",
		"virtio:d00000002v00001AF4":                             "",
		"acpi:PNP0C0C:":                                         "button",
		"pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00": "virtio_pci",
	} {
		if got := strings.Join(x.match(modalias), " "); got != want {
			t.Errorf("%s: %q, want %q", modalias, got, want)
		}
	}
}

func TestTheKernelIsSilencedWhereItCanTalk(t *testing.T) {
	content := map[string]string{}
	for _, s := range quiet {
		content[s.name] = "0"
	}
	root := tree(t, content)
	if err := silence(root); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"net/ipv6/conf/default/disable_ipv6", "net/ipv6/conf/all/disable_ipv6", "net/ipv4/icmp_echo_ignore_all"} {
		if readTrim(filepath.Join(root, name)) != "1" {
			t.Errorf("%s is not set", name)
		}
	}
	if err := silence(t.TempDir()); err != nil {
		t.Errorf("a kernel without these settings: %v", err)
	}
}

func TestMilestonesCountOnceAndTellBothTimes(t *testing.T) {
	now := 900 * time.Millisecond
	times := newTimes(now)
	times.now = func() time.Duration { return now }
	now = 1200 * time.Millisecond
	if !times.Mark("first-ike-packet") {
		t.Error("the first mark is new")
	}
	now = 5 * time.Second
	if times.Mark("first-ike-packet") {
		t.Error("the second mark is not")
	}
	if got := times.String(); got != "kernel to PID 1 0.90 s, then first-ike-packet 0.30 s" {
		t.Error(got)
	}
}

func TestAvailableMemoryIsReadOrUnknown(t *testing.T) {
	if n := memAvailable("MemTotal: 100 kB\nMemAvailable:    2048 kB\n"); n != 2<<20 {
		t.Error(n)
	}
	for _, bad := range []string{"", "MemAvailable:\n", "MemAvailable: x kB\n", "MemAvailable: -5 kB\n"} {
		if n := memAvailable(bad); n != 0 {
			t.Errorf("%q: %d", bad, n)
		}
	}
}

func attr(kind uint16, body []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(4+len(body)))
	b = append(binary.LittleEndian.AppendUint16(b, kind), body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func message(attrs ...[]byte) []byte {
	b := make([]byte, genlHeader)
	for _, a := range attrs {
		b = append(b, a...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func TestThePowerButtonIsToldFromOtherEvents(t *testing.T) {
	event := func(class string) []byte {
		b := make([]byte, 44)
		copy(b, class)
		copy(b[20:], "LNXPWRBN:00")
		return message(attr(acpiAttrEvent, b))
	}
	if !isPowerButton(event("button/power")) || isPowerButton(event("button/sleep")) || isPowerButton(nil) {
		t.Error("power button is not recognised")
	}
	group := attr(1, append(attr(ctrlAttrGroupName, []byte(acpiGroup+"\x00")), attr(ctrlAttrGroupID, []byte{9, 0, 0, 0})...))
	id, err := groupID(message(attr(1, []byte{30, 0}), attr(ctrlAttrMcastGroups|0x8000, group)), acpiGroup)
	if id != 9 || err != nil {
		t.Error(id, err)
	}
	if _, err := groupID(message(), acpiGroup); err == nil {
		t.Error("a kernel without the group has none")
	}
}

func FuzzNetlinkAttributesNeverRunOverTheirEnd(f *testing.F) {
	f.Add(message(attr(acpiAttrEvent, []byte("button/power"))))
	f.Add([]byte{0xff, 0xff, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		isPowerButton(b)
		_, _ = groupID(b, acpiGroup)
	})
}
