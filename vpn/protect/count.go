package protect

// Count is how many sessions and SAs there are, without a look into each SA.
type Count struct {
	Up, Negotiating, Retrying, Idle int
	Pairs                           int // of Child SAs
	IKE                             int // established
	Childless                       int // of those
}

// Count counts sessions and SAs.
func (m *Manager) Count() Count {
	var c Count
	for t := range m.tunnels {
		for s := range t.sessions {
			switch s.state() {
			case StateUp:
				c.Up++
			case StateNegotiating:
				c.Negotiating++
			case StateRetrying:
				c.Retrying++
			default:
				c.Idle++
			}
			c.Pairs += len(s.pairs)
		}
	}
	for _, ike := range m.ikes {
		if !ike.established || ike.going {
			continue
		}
		c.IKE++
		if len(ike.pairs) == 0 {
			c.Childless++
		}
	}
	return c
}
