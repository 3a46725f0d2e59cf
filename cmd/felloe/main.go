// Command felloe is the whole router: under PID 1 it is the machine, else a tool with subcommands.
package main

import (
	"fmt"
	"os"
	"time"

	"felloe/boot"
	"felloe/boot/ikeload"
	"felloe/boot/machine"
	"felloe/boot/pid1"
	"felloe/config"
	"felloe/image"
	"felloe/qemu"
)

// version is set at link time.
var version = "development"

const usage = `usage: felloe COMMAND …
  run -c FILE.toml [-nic NAME]… [-agent SOCKET] [-console]   a router as a process, on the NICs of this network namespace
  check FILE.toml…                                           say every mistake of a configuration
  schema                                                     JSON Schema of the configuration, for editors
  image build|config …                                       bootable images and configuration disks
  lab run|up|down|status|console|exec|capture …              networks of routers
  apply -agent SOCKET FILE.toml                              change a running router's configuration
  exec -agent SOCKET COMMAND                                 run a console command on a running router
  pki ca|issue|revoke …                                      certificates for a lab
  bench ike -peers N … TARGET                                many IKEv2 sessions at once, to load a responder with
  version
`

func main() {
	if pid1.Active() {
		machine.Run(version)
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	switch args[0] {
	case "run":
		return machine.RunMain(args[1:], version)
	case "apply":
		return machine.ApplyMain(args[1:])
	case "exec":
		return machine.ExecMain(args[1:])
	case "check":
		return config.Check(os.Stdout, boot.CheckPKI, args[1:]...)
	case "schema":
		_, err := os.Stdout.Write(config.Schema())
		if err != nil {
			return 1
		}
		return 0
	case "image":
		return image.Main(args[1:])
	case "lab":
		return qemu.Main(args[1:])
	case "pki":
		return pkiMain(args[1:], time.Now(), os.Stdout, os.Stderr)
	case "bench":
		if len(args) > 1 && args[1] == "ike" {
			return ikeload.Main(args[2:], os.Stdout, os.Stderr)
		}
		fmt.Fprint(os.Stderr, usage)
		return 2
	case "version":
		fmt.Println("felloe", version)
		return 0
	}
	fmt.Fprintf(os.Stderr, "felloe: unknown command %q\n%s", args[0], usage)
	return 2
}
