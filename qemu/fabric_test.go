package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"felloe/netstack/clock"
	"felloe/netstack/link/mem"
	"felloe/netstack/packet"

	"github.com/gopacket/gopacket/pcapgo"
)

func parse(t *testing.T, text string) *Lab {
	t.Helper()
	l, err := Parse("lab.toml", t.TempDir(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const cable = `name = "cable"
[[node]]
name = "a"
config = "a.toml"
[[node]]
name = "b"
config = "b.toml"
[[link]]
name = "wire"
ends = ["a:eth1", "b:eth1"]
`

func ethernet(text string) []byte { return append(make([]byte, 14), text...) }

// machineEnd is what QEMU is to a relay: a bound socket that sends to the relay's.
func machineEnd(t *testing.T, machine, relay string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: machine, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// receive reads one frame, or nothing when something else was sent to prove that nothing comes before it.
func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[14:n])
}

func TestFramesCrossTheRelayAndACutHoldsThem(t *testing.T) {
	l := parse(t, cable)
	f := newFabric(l, clock.Real)
	dir := t.TempDir()
	var ends []*net.UnixConn
	var relays []string
	for _, n := range l.Nodes {
		machine, relay := socketPaths(dir, n.Name, 0)
		w, err := newWire(f.port(l.Links[0], End{n.Name, "eth1"}), machine, relay)
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		ends, relays = append(ends, machineEnd(t, machine, relay)), append(relays, relay)
	}
	send := func(from int, text string) {
		t.Helper()
		if _, err := ends[from].WriteToUnix(ethernet(text), &net.UnixAddr{Name: relays[from], Net: "unixgram"}); err != nil {
			t.Fatal(err)
		}
	}
	var file bytes.Buffer
	stop, err := f.capture("wire", &file)
	if err != nil {
		t.Fatal(err)
	}
	send(0, "one")
	if got := receive(t, ends[1]); got != "one" {
		t.Errorf("got %q", got)
	}
	send(1, "two")
	if got := receive(t, ends[0]); got != "two" {
		t.Errorf("got %q", got)
	}
	if err := f.setLink("a:eth1", false, nil); err != nil {
		t.Fatal(err)
	}
	before := f.links["wire"].ports[End{"a", "eth1"}].Stats().TxFrames + f.links["wire"].ports[End{"a", "eth1"}].Stats().TxDrops
	send(0, "lost")
	for { // until the link has seen it
		s := f.links["wire"].ports[End{"a", "eth1"}].Stats()
		if s.TxFrames+s.TxDrops > before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := f.setLink("wire", true, nil); err != nil {
		t.Fatal(err)
	}
	send(0, "three")
	if got := receive(t, ends[1]); got != "three" {
		t.Errorf("got %q through a cut", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for {
		b, info, err := r.ReadPacketData()
		if err != nil {
			break
		}
		i, _ := r.Interface(info.InterfaceIndex)
		seen = append(seen, i.Name+" "+string(b[14:]))
	}
	if got := strings.Join(seen, ", "); got != "a:eth1 one, b:eth1 two, a:eth1 lost, a:eth1 three" {
		t.Error(got)
	}
}

// echoRouter is a router that sends back what it gets, and says what happens to it.
type echoRouter struct {
	name string
	nics []MemoryNIC
	mu   sync.Mutex
	got  []string
}

func (r *echoRouter) Exec(_ context.Context, line string) (string, error) {
	if text, ok := strings.CutPrefix(line, "send "); ok {
		r.nics[0].Driver.Send([]*packet.Packet{packet.From(ethernet(text))})
		return "", nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%s got %s", r.name, strings.Join(r.got, ",")), nil
}

func (r *echoRouter) Apply(_ context.Context, file string) error {
	if strings.HasSuffix(file, "bad.toml") {
		return errors.New("bad.toml:1:1: wrong")
	}
	return nil
}

func (r *echoRouter) Shutdown(ctx context.Context) error {
	if ctx.Err() == nil {
		r.nics[0].Driver.Send([]*packet.Packet{packet.From(ethernet("bye"))})
	} else {
		r.nics[0].Driver.Send([]*packet.Packet{packet.From(ethernet("never heard"))})
	}
	return r.nics[0].Driver.Close()
}

func (r *echoRouter) Console(_ context.Context, terminal io.ReadWriter) error {
	_, err := io.Copy(terminal, io.LimitReader(terminal, 5))
	return err
}

func echoFactory(node string, _ clock.Clock, nics []MemoryNIC) (MemoryRouter, error) {
	r := &echoRouter{name: node, nics: nics}
	return r, nics[0].Driver.Start(func(v []*packet.Packet) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range v {
			r.got = append(r.got, string(p.Bytes()[14:]))
			p.Release()
		}
	})
}

func TestMemoryRoutersComeAndGoOnTheirLinks(t *testing.T) {
	v := clock.NewVirtual(time.Unix(0, 0))
	m := &Memory{Clock: v, Factory: echoFactory}
	ctx := context.Background()
	l := parse(t, cable)
	if err := m.Start(ctx, l, t.Logf); err != nil {
		t.Fatal(err)
	}
	exec := func(node, line string) string {
		t.Helper()
		out, err := m.Exec(ctx, node, line)
		if err != nil {
			t.Fatal(err)
		}
		v.Advance(time.Second)
		return out
	}
	exec("a", "send 1")
	if got := exec("b", "got"); got != "b got 1" {
		t.Error(got)
	}
	if err := m.Kill("a"); err != nil {
		t.Fatal(err)
	}
	v.Advance(time.Second)
	if got := exec("b", "got"); got != "b got 1" {
		t.Errorf("a killed node spoke: %s", got)
	}
	if _, err := m.Exec(ctx, "a", "x"); err == nil || !strings.Contains(err.Error(), "a is off") {
		t.Error(err)
	}
	if err := m.Kill("a"); err == nil {
		t.Error("a node that is off was killed again")
	}
	if err := m.StartNode(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	exec("a", "send 2")
	if err := m.PowerDown(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	v.Advance(time.Second)
	if got := exec("b", "got"); got != "b got 1,2,bye" {
		t.Error(got)
	}
	if s := m.Status(); s[0].State != "off" || s[1].State != "running" {
		t.Errorf("%+v", s)
	}
	if err := m.Apply(ctx, "b", "bad.toml"); err == nil || !strings.Contains(err.Error(), "bad.toml:1:1") {
		t.Error(err)
	}
	if err := m.SetLink("wire", true, &mem.Impairment{Loss: 1}); err != nil {
		t.Fatal(err)
	}
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
}

func TestALabThatIsUpAnswersOnItsSocket(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	l := parse(t, cable)
	dir, err := ownDir(l.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ownDir(l.Name); err == nil || !strings.Contains(err.Error(), "up already") {
		t.Errorf("a lab came up twice: %v", err)
	}
	m := &Memory{Factory: echoFactory}
	ctx, down := context.WithCancel(context.Background())
	defer down()
	if err := m.Start(ctx, l, t.Logf); err != nil {
		t.Fatal(err)
	}
	c := &control{lab: l, backend: m, down: down}
	listening, err := c.listen(controlSocket(l.Name))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- c.serve(ctx, listening) }()
	if labs := upLabs(); len(labs) != 1 || labs[0] != "cable" {
		t.Errorf("labs %v", labs)
	}
	do := func(q controlRequest) (controlAnswer, error) {
		a, conn, err := ask(context.Background(), "cable", q)
		if err == nil {
			conn.Close()
		}
		return a, err
	}
	if a, err := do(controlRequest{Do: "exec", Node: "a", Line: "got"}); err != nil || a.Out != "a got " {
		t.Error(a, err)
	}
	if _, err := do(controlRequest{Do: "exec", Node: "c", Line: "got"}); err == nil || !strings.Contains(err.Error(), "has a, b") {
		t.Error(err)
	}
	if _, err := do(controlRequest{Do: "dance"}); err == nil {
		t.Error("an unknown request was answered")
	}
	if a, err := do(controlRequest{Do: "status"}); err != nil || len(a.Status) != 2 {
		t.Error(a, err)
	}

	// A capture ends when the client closes its half; the file is whole then.
	_, conn, err := ask(ctx, "cable", controlRequest{Do: "capture", Link: "wire"})
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 4)
	if _, err := do(controlRequest{Do: "exec", Node: "a", Line: "send caught"}); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, first); err != nil || !bytes.Equal(first, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		t.Errorf("no capture file: % x %v", first, err)
	}
	rest, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(rest, []byte("a:eth1")) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}

	_, conn, err = ask(ctx, "cable", controlRequest{Do: "console", Node: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 5)
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != "hello" {
		t.Errorf("%q %v", back, err)
	}
	conn.Close()

	if _, err := do(controlRequest{Do: "down"}); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
	dir.release()
	if left, _ := os.ReadDir(stateBase()); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestWhatADeadLabLeftIsRemoved(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, err := ownDir("dead")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir.path, controlName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir.lock.Close() // the process is gone, its files are not
	if labs := upLabs(); len(labs) != 0 {
		t.Errorf("a dead lab is up: %v", labs)
	}
	if _, err := os.Stat(dir.path); !errors.Is(err, os.ErrNotExist) {
		t.Error("its directory is still there")
	}
}

func TestKeysAreCollectedFromConsoles(t *testing.T) {
	dir := t.TempDir()
	console := "Hub#\r\nHub#ikev2_decryption_table: 1,2,3\r\nesp_sa: \"IPv4\",x\r\nother: 4\r\n"
	for range 2 {
		if err := collectKeys([]byte(console), dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"ikev2_decryption_table": "1,2,3\n1,2,3\n", "esp_sa": "\"IPv4\",x\n\"IPv4\",x\n"} {
		if b, err := os.ReadFile(filepath.Join(dir, "keys", name)); err != nil || string(b) != want {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
}
