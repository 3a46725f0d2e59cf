package boot

import (
	"errors"
	"io"
	"sync"

	"felloe/config"
	"felloe/vpn/ikev2"
	"felloe/vpn/protect"
)

// keyLogSwitch is the lab's key log, which a configuration switches on and off. It is off until then.
type keyLogSwitch struct {
	open func(path string) (KeyLog, error)
	mu   sync.Mutex
	cfg  config.KeyLog
	to   KeyLog
}

func (k *keyLogSwitch) set(c config.KeyLog) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c == k.cfg {
		return nil
	}
	var err error
	if k.to != nil {
		err = k.to.Close()
		k.to = nil
	}
	k.cfg = c
	if !c.Enabled {
		return err
	}
	if k.open == nil {
		return errors.New("[lab] key-log: this router was started without a place for key logs")
	}
	to, oerr := k.open(c.Path)
	k.to = to
	return errors.Join(err, oerr)
}

// Key implements protect.KeyLog.
func (k *keyLogSwitch) Key(l ikev2.KeyLog) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.to == nil {
		return nil
	}
	return k.to.Key(l)
}

func (k *keyLogSwitch) Close() error { return k.set(config.KeyLog{}) }

// KeyLogDir is a key log in a folder, as Wireshark reads it from its configuration folder.
func KeyLogDir(dir string) (KeyLog, error) {
	k, err := protect.KeyLogDir(dir)
	return closing{k}, err
}

// KeyLogWriter writes all keys to one writer, each line behind the name of its table.
func KeyLogWriter(w io.Writer) KeyLog { return closing{protect.KeyLogWriter(w)} }

type closing struct{ protect.KeyLog }

func (closing) Close() error { return nil }
