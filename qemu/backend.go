package qemu

import (
	"context"
	"io"
	"time"

	"felloe/manage/agent"
	"felloe/netstack/link/mem"
)

// Backend makes a lab's nodes and links exist. Its methods are safe for concurrent use.
type Backend interface {
	// Start brings all nodes up and returns when their command lines answer.
	Start(ctx context.Context, l *Lab, say Say) error
	// Exec runs a command line on a node.
	Exec(ctx context.Context, node, line string) (string, error)
	// Apply gives a node a new configuration from a file.
	Apply(ctx context.Context, node, file string) error
	// Kill ends a node as if its power were cut; PowerDown as if its power button were pressed, and waits.
	Kill(node string) error
	PowerDown(ctx context.Context, node string) error
	// StartNode brings an ended node up again.
	StartNode(ctx context.Context, node string) error
	// SetLink cuts (up false) or joins a link, and with imp changes how it misbehaves.
	SetLink(link string, up bool, imp *mem.Impairment) error
	// Capture writes every frame of a link as pcapng until stop is called.
	Capture(link string, w io.Writer) (stop func() error, err error)
	// Boot are the milestones of a node's boot; nodes without a machine have none.
	Boot(ctx context.Context, node string) ([]agent.Milestone, error)
	// Console joins a node's serial console.
	Console(node string) (io.ReadWriteCloser, error)
	Status() []NodeStatus
	// Stop ends everything and leaves nothing behind.
	Stop() error
}

// NodeStatus is how a node is.
type NodeStatus struct {
	Name  string        `json:"name"`
	State string        `json:"state"` // "running", "off", "booting"
	Up    time.Duration `json:"up_ns,omitempty"`
	PID   int           `json:"pid,omitempty"`
	RSS   int64         `json:"rss,omitempty"` // bytes of the host's memory
}

// Say prints a line of progress.
type Say func(format string, a ...any)
