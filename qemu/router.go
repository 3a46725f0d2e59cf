package qemu

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"felloe/boot"
	"felloe/boot/machine"
	"felloe/config"
	"felloe/manage/cli"
	"felloe/netstack/clock"
)

// replaceLine is the console command that gives a router in a virtual machine a new configuration.
func replaceLine(file string) (string, error) { return machine.ReplaceLine(file) }

// memoryRouter is a boot.Router in this process.
type memoryRouter struct{ *boot.Router }

// newMemoryRouter is the factory of `lab run -backend memory`; keys go below logs, or nowhere.
func newMemoryRouter(logs string) MemoryFactory {
	return func(node string, c clock.Clock, nics []MemoryNIC) (MemoryRouter, error) {
		o := boot.Options{Clock: c, Version: "memory"}
		for _, n := range nics {
			o.NICs = append(o.NICs, boot.NIC{Name: n.Name, Driver: n.Driver})
		}
		o.OpenKeyLog = func(string) (boot.KeyLog, error) {
			if logs == "" {
				return boot.KeyLogWriter(io.Discard), nil
			}
			return boot.KeyLogDir(filepath.Join(logs, "keys"))
		}
		r, err := boot.New(o)
		if err != nil {
			return nil, err
		}
		return memoryRouter{r}, nil
	}
}

// Apply takes the configuration in a file; what the machine cannot do is an error here, since a lab has what it needs.
func (m memoryRouter) Apply(ctx context.Context, file string) error {
	c, diags := config.Load(file)
	if diags.HasErrors() {
		return errors.New(diags.String())
	}
	if err := m.Router.Apply(ctx, c); err != nil {
		return err
	}
	var errs []error
	for _, p := range m.Problems() {
		errs = append(errs, errors.New(p))
	}
	return errors.Join(errs...)
}

// Console serves one session.
func (m memoryRouter) Console(ctx context.Context, terminal io.ReadWriter) error {
	s := &cli.Session{Tree: m.Commands()}
	c := cli.NewConsole(s, terminal, func() string { return m.Hostname() + "#" })
	stop := m.Log().Watch(func(line string) {
		if s.Monitor.Load() {
			c.Notice(line)
		}
	})
	defer stop()
	return c.Run(ctx)
}
