package main

import (
	"bufio"
	"context"
	"fmt"

	"felloe/boot/pid1"
)

func main() {
	if !pid1.Active() {
		fmt.Println("not PID 1")
		return
	}
	pid1.Run(func(ctx context.Context, m *pid1.Machine) pid1.Outcome {
		m.Times.Mark("router")
		if len(m.Consoles) == 0 {
			fmt.Println("no console")
			return pid1.PowerOff
		}
		c := m.Consoles[0]
		fmt.Fprintln(c, "felloe-test: boot:", m.Times)
		for _, w := range m.Warnings {
			fmt.Fprintln(c, "felloe-test: warning:", w)
		}
		for _, n := range m.NICs {
			fmt.Fprintf(c, "felloe-test: nic %s %x %s %s\n", n.Name, n.MAC, n.Driver, n.Path)
		}
		fmt.Fprintf(c, "felloe-test: config %q %v\n", m.ConfigPath, m.ConfigErr)
		fmt.Fprintln(c, "felloe-test: ready")
		words := make(chan string)
		go func() {
			for s := bufio.NewScanner(c); s.Scan(); {
				words <- s.Text()
			}
		}()
		for {
			select {
			case <-ctx.Done():
				fmt.Fprintln(c, "felloe-test:", context.Cause(ctx))
				return pid1.PowerOff
			case w := <-words:
				switch w {
				case "reboot":
					return pid1.Reboot
				case "poweroff":
					return pid1.PowerOff
				case "panic":
					go panic("felloe-test: on purpose")
				}
			}
		}
	})
}
