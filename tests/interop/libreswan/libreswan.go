package libreswan

import (
	"fmt"
	"time"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"
)

const secret = "interop-psk-0123456789"

// tunnel is a way to carry the overlay.
type tunnel struct {
	name, title string
	mode        string // Felloe's tunnel mode
	transform   string
	esp         string // libreswan's
	conn        string // more of libreswan's connection
	link        string // the machine's tunnel device
	xfrm        string // what `ip xfrm state` says
}

var tunnels = []tunnel{
	{
		name: "vti", title: "a VTI, AES-CBC-256 with SHA-512", mode: "ipsec ipv4", transform: `["aes-cbc-256", "sha512"]`, esp: "aes256-sha2_512",
		conn: "\ttype=tunnel\n\tleftsubnet=0.0.0.0/0\n\trightsubnet=0.0.0.0/0\n\tmark=5/0xffffffff\n\tvti-interface=vti0\n\tvti-routing=no\n",
		link: "ip link add vti0 type vti local 192.0.2.2 remote 192.0.2.1 key 5; sysctl -qw net.ipv4.conf.vti0.disable_policy=1\n", xfrm: `mode tunnel`,
	},
	{
		name: "gre", title: "GRE in transport mode, AES-GCM-256", mode: "gre ip", transform: `["aes-gcm-256"]`, esp: "aes_gcm256",
		conn: "\ttype=transport\n\tleftprotoport=gre\n\trightprotoport=gre\n",
		link: "ip link add vti0 type gre local 192.0.2.2 remote 192.0.2.1 ttl 64\n", xfrm: `mode transport`,
	},
}

func init() {
	for _, t := range tunnels {
		matrix.Register(matrix.Case{
			Name: "libreswan/" + t.name, Group: "libreswan", Peer: "libreswan, Linux XFRM", Title: t.title,
			Images: []peers.Image{peers.Libreswan}, Timeout: 20 * time.Minute,
			Rows: []matrix.Row{
				{ID: "initiated", What: "libreswan brings the tunnel up (IKEv2, PSK)"},
				{ID: "packets", What: "packets both ways, up to the largest that fits"},
				{ID: "rekey", What: "libreswan rekeys the Child SA and the IKE SA while packets flow, none lost"},
				{ID: "deleted", What: "libreswan deletes the SAs: they go here too"},
				{ID: "responded", What: "Felloe brings the tunnel up, and packets go"},
				{ID: "cleared", What: "Felloe's sessions are cleared: libreswan's SAs go, and come back with traffic"},
			},
			Run: func(r *matrix.Run) { run(r, t) },
		})
	}
}

func toml(t tunnel) string {
	return fmt.Sprintf(`
hostname = "router"
[interface.GigabitEthernet1]
address = ["192.0.2.1/24"]
[interface.Tunnel0]
mode = %q
address = ["172.31.0.1/24"]
source = "GigabitEthernet1"
destination = "192.0.2.2"
protection = "P"
[ikev2.proposal.X]
encryption = ["aes-cbc-256"]
integrity = ["sha512"]
prf = ["sha512"]
group = [19]
[ikev2.policy.X]
proposal = ["X"]
[ikev2.keyring.K.peer.libreswan]
address = "192.0.2.2"
pre-shared-key = %q
[ikev2.profile.I]
match = { identity = { remote = { fqdn = "libreswan.example" } } }
identity = { local = { fqdn = "felloe.example" } }
keyring = "K"
dpd = { interval = 10, retry = 2, mode = "on-demand" }
[ipsec.transform-set.T]
esp = %s
mode = %q
[ipsec.profile.P]
transform-set = ["T"]
ikev2-profile = "I"
pfs = 19
`, t.mode, secret, t.transform, map[bool]string{true: "transport", false: "tunnel"}[t.name == "gre"])
}

func files(t tunnel) map[string]string {
	return map[string]string{
		"net.sh": "ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up\n" + t.link +
			"ip addr add 172.31.0.2/24 dev vti0; ip link set vti0 mtu 1400 up\n",
		"ipsec.conf": `config setup
	logtime=no
conn felloe
	authby=secret
	keyexchange=ikev2
	left=192.0.2.2
	leftid=@libreswan.example
	right=192.0.2.1
	rightid=@felloe.example
	ike=aes256-sha2_512-dh19
	esp=` + t.esp + `;dh19
	dpddelay=10
	retransmit-timeout=20s
` + t.conn + `	auto=add
`,
		"ipsec.secrets": fmt.Sprintf("@libreswan.example @felloe.example : PSK %q\n", secret),
	}
}

func run(r *matrix.Run, t tunnel) {
	wan := r.Switch("wan")
	vm := r.Machine("libreswan", peers.MachineConfig{Image: peers.Libreswan, Files: files(t)}, wan)
	r.Evidence(func() string {
		return vm.Run("tail -n 150 /var/log/pluto.log; ipsec status | grep '\"felloe\"'; ip xfrm state; ip xfrm policy; ip -s link show vti0; ip route")
	})
	r.Version("libreswan", peers.Upstream(vm.Run("dpkg-query -W -f '${Version}' libreswan")))
	router := r.Router("router", toml(t), wan)
	r.Evidence(func() string {
		return router.Exec("show crypto session") + router.Exec("show crypto ipsec sa") + router.Exec("show counters")
	})
	ping := func(within time.Duration) {
		peers.Expect(vm, within, "ping -n -c 5 -i 0.2 -W 2 172.31.0.1", `5 packets transmitted, 5 received`)
	}
	r.Must("initiated", func() {
		if out, err := vm.Try("ipsec up felloe"); err != nil {
			r.Fatalf("%v\n%s", err, out)
		}
		router.Expect(20*time.Second, "show crypto session", `UP-ACTIVE`, `libreswan\.example|192\.0\.2\.2`)
	})
	r.Check("packets", func() {
		ping(20 * time.Second)
		if err := peers.Match(vm.Run("ip xfrm state"), t.xfrm); err != nil {
			r.Fatalf("%v", err)
		}
		vm.Run("ping -n -M do -s 1372 -c 3 -i 0.2 -W 2 172.31.0.1") // 1,400 bytes
		router.Expect(20*time.Second, "ping 172.31.0.2 size 1400 repeat 5 interval 100", `100 percent`)
	})
	r.Check("rekey", func() {
		spis := vm.Run("ip xfrm state | grep -o 'spi 0x[0-9a-f]*' | sort")
		vm.Run("ping -n -c 60 -i 0.2 -W 2 172.31.0.1 >/tmp/flow 2>&1 &")
		vm.Run("sleep 1; ipsec whack --rekey-child --name felloe; sleep 2; ipsec whack --rekey-ike --name felloe")
		peers.Expect(vm, time.Minute, "cat /tmp/flow", "60 packets transmitted, 60 received")
		r.Until(30*time.Second, "other SAs", func() error {
			if now := vm.Run("ip xfrm state | grep -o 'spi 0x[0-9a-f]*' | sort"); now == spis {
				return fmt.Errorf("still %s", now)
			}
			return nil
		})
		router.Expect(20*time.Second, "show counters", `ike-rekeyed +[1-9]`, `child-rekeyed +[1-9]`)
	})
	r.Check("deleted", func() {
		vm.Run("ipsec delete felloe")
		router.Expect(20*time.Second, "show counters", `child-down +[1-9]`)
		vm.Run("ipsec add felloe")
	})
	r.Check("responded", func() {
		router.Expect(90*time.Second, "ping 172.31.0.2 repeat 3 interval 100 timeout 2", `100 percent`)
		ping(20 * time.Second)
	})
	r.Check("cleared", func() {
		spis := vm.Run("ip xfrm state | grep -o 'spi 0x[0-9a-f]*' | sort")
		router.Exec("clear crypto session")
		r.Until(60*time.Second, "other SAs", func() error {
			if now := vm.Run("ip xfrm state | grep -o 'spi 0x[0-9a-f]*' | sort"); now == spis {
				return fmt.Errorf("still %s", now)
			}
			return nil
		})
		router.Expect(90*time.Second, "ping 172.31.0.2 repeat 3 interval 100 timeout 2", `100 percent`)
	})
}
