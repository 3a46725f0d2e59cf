package machine

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"felloe/config"
	"felloe/manage/agent"
)

// RunMain is `felloe run`: it returns the process's exit code.
func RunMain(args []string, version string) int {
	fs := flag.NewFlagSet("felloe run", flag.ContinueOnError)
	p := ProcessOptions{Version: version}
	fs.StringVar(&p.Config, "c", "", "configuration file")
	fs.StringVar(&p.Agent, "agent", "", "unix socket to serve commands on")
	fs.BoolVar(&p.Console, "console", false, "a console on standard input and output")
	fs.StringVar(&p.Terminal, "terminal", "", "unix socket to serve consoles on")
	fs.StringVar(&p.Keys, "keys", "", "folder of the key log, if the configuration asks for one")
	fs.Func("nic", "NIC of this network namespace, in the order of the configuration's Ethernet interfaces (again for each)", func(s string) error {
		p.NICs = append(p.NICs, s)
		return nil
	})
	if err := fs.Parse(args); err != nil || p.Config == "" || fs.NArg() > 0 {
		fs.Usage()
		return 2
	}
	if !p.Console {
		p.Log = os.Stdout
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return exit(Process(ctx, p))
}

func exit(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "felloe:", err)
		return 1
	}
	return 0
}

// ExecMain is `felloe exec`.
func ExecMain(args []string) int {
	fs := flag.NewFlagSet("felloe exec", flag.ContinueOnError)
	socket := fs.String("agent", "", "unix socket of the router's agent")
	asJSON := fs.Bool("json", false, "answer in JSON")
	if err := fs.Parse(args); err != nil || *socket == "" || fs.NArg() == 0 {
		fs.Usage()
		return 2
	}
	return exit(ask(*socket, strings.Join(fs.Args(), " "), *asJSON))
}

// ApplyMain is `felloe apply`: it checks the file here, with all its mistakes at once, and hands it to the router.
func ApplyMain(args []string) int {
	fs := flag.NewFlagSet("felloe apply", flag.ContinueOnError)
	socket := fs.String("agent", "", "unix socket of the router's agent")
	if err := fs.Parse(args); err != nil || *socket == "" || fs.NArg() != 1 {
		fs.Usage()
		return 2
	}
	line, err := ReplaceLine(fs.Arg(0))
	if err != nil {
		return exit(err)
	}
	return exit(ask(*socket, line, false))
}

// ReplaceLine is the console command that applies a file: the files that it names are read here, for the router
// may not have them.
func ReplaceLine(file string) (string, error) {
	c, diags := config.Load(file)
	if len(diags) > 0 {
		fmt.Fprintln(os.Stderr, diags)
	}
	if diags.HasErrors() {
		return "", errors.New("the configuration has errors; nothing was applied")
	}
	return "configure replace base64 " + base64.StdEncoding.EncodeToString(config.Marshal(c, config.WithSecrets(), config.WithFiles())), nil
}

func ask(socket, line string, asJSON bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	c := agent.NewClient(conn)
	defer c.Close()
	if asJSON {
		ctx = agent.WithJSON(ctx)
	}
	out, err := c.Exec(ctx, line)
	fmt.Print(out)
	return err
}
