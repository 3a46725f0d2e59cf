package peers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAnEmptyLabIsLeftByAllThatWasInIt(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := New(ctx, Options{Name: "test", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var pid int
	failure := l.Attempt(func() {
		lan := l.Switch("lan")
		a, b := l.Namespace("a"), l.Namespace("b")
		lan.Attach(a, "eth0", "192.0.2.1/24", "2001:db8::1/64")
		lan.Attach(b, "eth0", "192.0.2.2/24", "2001:db8::2/64")
		Expect(a, 20*time.Second, "ping -n -c 1 -W 1 192.0.2.2", "1 received")
		Expect(b, 20*time.Second, "ping -n -c 1 -W 1 2001:db8::1", "1 received")
		name = a.KernelName()
		p := a.Start(Command{Name: "sleeper", Args: []string{"sleep", "1000"}})
		pid = p.PID()
		var listener net.Listener
		b.Do(func() { listener, err = net.Listen("tcp4", "192.0.2.2:80") })
		if err != nil {
			l.Fatalf("listen in the namespace: %v", err)
		}
		defer listener.Close()
		Expect(a, 10*time.Second, "exec 3<>/dev/tcp/192.0.2.2/80; echo joined", "joined")
		l.Fatalf("and then something fails")
	})
	if failure == nil || failure.Error() != "and then something fails" {
		t.Errorf("the failure: %v", failure)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/run/netns/" + name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("namespace %s is still there (%v)", name, err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there (%v)", pid, err)
	}
}

func TestWhatADeadRunHasLeftIsSweptAndALivingOnesIsNot(t *testing.T) {
	ctx := context.Background()
	l, err := New(ctx, Options{Name: "test", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ours string
	const dead = prefix + "1-zzz-1-left" // process 1 did not begin at this time
	if err := l.Attempt(func() {
		ours = l.Namespace("ours").KernelName()
		l.Command("ip", "netns", "add", dead)
	}); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/run/netns/" + dead); err == nil {
		t.Error("the dead run's namespace is still there")
	}
	if _, err := os.Stat("/run/netns/" + ours); err != nil {
		t.Error("the living run's namespace is gone")
	}
}

func TestPatternsMustAndMustNotMatch(t *testing.T) {
	out := "one\ntwo 2\n"
	if err := Match(out, "^two", "!three"); err != nil {
		t.Error(err)
	}
	for _, p := range []string{"^2", "!^one$", "("} {
		if Match(out, p) == nil {
			t.Errorf("%q passes", p)
		}
	}
}

func TestDebiansPartsAreTakenOffAVersion(t *testing.T) {
	for in, want := range map[string]string{"10.3-3": "10.3", "2:4.10-2+deb12u1": "4.10", "5.9.8-5+deb12u6\n": "5.9.8", "6.12.5+deb13-amd64": "6.12.5", "1.0": "1.0"} {
		if got := Upstream(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}

func TestAMachinesDiskHoldsItsFiles(t *testing.T) {
	r := tar.NewReader(bytes.NewReader(pack("vm", map[string]string{"net.sh": "ip link\n"})))
	got := map[string]string{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(b)
	}
	if got["hostname"] != "vm\n" || got["net.sh"] != "ip link\n" || !strings.HasPrefix(got[".init"], "#!/bin/bash") || got[".agent"] == "" {
		t.Errorf("%v", got)
	}
}
