package protect

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"felloe/vpn/ikev2"
)

// KeyLog takes key material for a capture's reader. It is for labs only: whoever has it reads the traffic.
type KeyLog interface {
	Key(l ikev2.KeyLog) error
}

// KeyLogDir writes the files ikev2_decryption_table and esp_sa into a folder, as Wireshark and tshark read them from
// their configuration folder:
//
//	WIRESHARK_CONFIG_DIR=FOLDER tshark -o esp.enable_encryption_decode:TRUE -r wan.pcap
//
// Several routers of a lab may write to one folder. It is safe for concurrent use.
func KeyLogDir(dir string) (KeyLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("key log: %w", err)
	}
	return &keyFiles{dir: dir}, nil
}

type keyFiles struct {
	mu  sync.Mutex
	dir string
}

// Key implements KeyLog.
func (k *keyFiles) Key(l ikev2.KeyLog) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(k.dir, string(l.Kind)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(l.Line + "\n"); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// KeyLogWriter writes all lines to one writer, each behind the name of its table: "esp_sa: …".
func KeyLogWriter(w io.Writer) KeyLog { return &keyWriter{w: w} }

type keyWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Key implements KeyLog.
func (k *keyWriter) Key(l ikev2.KeyLog) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := fmt.Fprintf(k.w, "%s: %s\n", l.Kind, l.Line)
	return err
}

func (m *Manager) keyLog(a ikev2.KeyLog) {
	if m.o.KeyLog == nil {
		return
	}
	if err := m.o.KeyLog.Key(a); err != nil && m.quiet.allow(noAddr, "key log", m.now(), quietFor) {
		m.o.Log.Warn().Str("event", "key-log-failed").Err(err).Msg("the key log cannot be written: captures will not decrypt")
	}
}
