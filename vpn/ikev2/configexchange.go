package ikev2

import "felloe/vpn/ikev2/message"

// setConfig is our CFG_SET.
type setConfig struct{ c Configuration }

func (*setConfig) exchange() message.ExchangeType         { return message.INFORMATIONAL }
func (*setConfig) movable() bool                          { return true }
func (*setConfig) begin(*ikeSA) ([]message.Payload, bool) { return nil, true }
func (*setConfig) done(*ikeSA, *parts)                    {}
