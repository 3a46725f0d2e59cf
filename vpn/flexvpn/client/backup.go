package client

import "time"

// Dial backup: an interface that is up while a client has no session. When it is the tunnel of another block, that block
// rests until it is needed.

// wanted says whether the operator and the tracked object want a session.
func (c *client) wanted() bool {
	return c.cfg.Off == "" && (!c.cfg.Manual || c.told) && c.m.holds(c.cfg.Wanted) && !c.standby()
}

// standby says whether the client's tunnel is a backup that nobody needs now.
func (c *client) standby() bool {
	backs := false
	for _, o := range c.m.clients {
		if o != c && o.cfg.BackupInterface == c.cfg.Tunnel {
			backs = true
			if o.raised {
				return false
			}
		}
	}
	return backs
}

// backup raises or lowers the client's dial backup.
func (c *client) backup() {
	if c.cfg.BackupInterface == "" {
		return
	}
	switch {
	case c.active:
		if c.raised && !c.lowersAt.After(c.m.now) {
			c.setBackup(false)
		}
	case !c.wanted():
		c.setBackup(false)
		c.lostAt = time.Time{}
	case c.lostAt.IsZero():
		c.lostAt = c.m.now // it begins to be
	case c.state == StateWaiting || c.state == StateIdle && c.why != "" || !c.m.now.Before(c.lostAt.Add(BackupDelay)):
		// Nobody is left to try, or it takes long.
		c.setBackup(true)
	}
}

func (c *client) setBackup(up bool) {
	if c.cfg.BackupInterface == "" || c.raised == up {
		return
	}
	c.raised = up
	c.m.host.Backup(c.cfg.BackupInterface, up, c.cfg.Name)
	c.m.pending = append(c.m.pending, c.m.reviewAll) // the block that it stands by may have been looked at already
}
