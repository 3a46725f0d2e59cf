// Package peers runs routers of this project next to software written by others: on one machine, as root, with nothing
// but network namespaces, processes and small virtual machines.
//
//	              ┌ namespace ─────────────┐      ┌ switch ┐      ┌ namespace ───────┐
//	Lab.Router ─► │ felloe run -nic wan …  │─veth─┤ bridge ├─veth─│ charon, bird, …  │ ◄─ Namespace.Start
//	              └────────────────────────┘      └───┬────┘      └──────────────────┘
//	                                                 tap
//	                                          ┌ machine ───────────────┐
//	                                          │ Debian: FRR, XFRM, …   │ ◄─ Lab.Machine
//	                                          └────────────────────────┘
//
// A Lab is the world of one case. Everything that it makes has its name in it and ends with it, also when the case fails,
// panics or runs out of time: processes by pid, namespaces with whatever still runs in them, machines, sockets. When the
// whole program is killed its processes die with it, and the next run removes the namespaces that it left (Sweep).
// Logs, configurations and captures stay in the lab's folder.
//
// A method that cannot do its work does not return an error: it ends the row of the matrix that it is part of, like
// testing.TB.Fatal (Lab.Fatalf). What is asked of a peer again and again until it is so takes the time within which it
// must be so: Lab.Until, Router.Expect, Expect. Every wait also ends with the case's own time.
//
//	func registration(l *peers.Lab) {
//		wan := l.Switch("wan")
//		hub := l.Router("hub", hubTOML, wan)                              // NIC wan0, in namespace "hub"
//		client := l.Namespace("client")
//		wan.Attach(client, "eth0", "192.0.2.2/24")
//		charon := client.Start(peers.Command{Name: "charon", Args: []string{"/usr/sbin/charon-systemd"}, Env: …})
//		vm := l.Machine("spoke", peers.MachineConfig{Image: peers.FRR, Files: map[string]string{"net.sh": …}}, wan)
//		hub.Expect(30*time.Second, "show dmvpn", `192\.0\.2\.12 +10\.255\.0\.12 +UP`)
//		peers.Expect(vm, 30*time.Second, "vtysh -c 'show ip nhrp cache'", `10\.255\.0\.1`)
//		peers.Expect(client, 5*time.Second, "ping -c 3 -i 0.2 10.0.0.1", ` 0% packet loss`)
//		…
//	}
//
// Machines boot Debian's own kernel and packages from an image that guest/recipe.sh makes once and that is kept under
// build/cache/peers, named by a hash of the recipe: see Image. Inside, guest/init brings up what the machine's Files hold
// and guest/agent runs commands that come over a virtio-serial port, so that no network of the lab carries them.
//
// It leaves out impairments of the wire (netem is there for cases that want them: Namespace.Run) and other systems than Debian.
package peers
