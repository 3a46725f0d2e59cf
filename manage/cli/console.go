package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Console is a session on a terminal: a serial line, an SSH channel, a test's pipe.
type Console struct {
	Session *Session
	// Prompt is asked before each line ("Hub#").
	Prompt func() string

	term *term.Terminal
	mu   sync.Mutex
	stop context.CancelFunc
}

// NewConsole joins a session to the terminal's byte stream, which must be in raw mode. Ctrl-C ends the command that
// runs; Tab completes; "?" helps at once.
func NewConsole(s *Session, rw io.ReadWriter, prompt func() string) *Console {
	c := &Console{Session: s, Prompt: prompt}
	c.term = term.NewTerminal(&breaker{rw: rw, console: c}, "")
	s.Out = c.term
	c.term.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		switch {
		case key == '\t' && pos == len(line):
			done := s.Tree.Complete(line)
			if done == line {
				c.suggest(line)
			}
			return done, len(done), true
		case key == '?':
			c.suggest(line[:pos])
			return line, pos, true
		}
		return "", 0, false
	}
	return c
}

func (c *Console) suggest(line string) {
	fmt.Fprintf(c.term, "%s%s?\n", c.Prompt(), line)
	if err := c.Session.help(line); err != nil {
		fmt.Fprintln(c.term, err)
	}
}

// Notice prints a line above the prompt, whatever is being typed.
func (c *Console) Notice(line string) { fmt.Fprintln(c.term, strings.TrimRight(line, "\n")) }

// Run reads and runs lines until "exit", the end of the stream or the end of ctx.
func (c *Console) Run(ctx context.Context) error {
	for ctx.Err() == nil && !c.Session.Closed {
		c.term.SetPrompt(c.Prompt())
		line, err := c.term.ReadLine()
		if errors.Is(err, term.ErrPasteIndicator) {
			err = nil
		}
		if err != nil {
			return err
		}
		run, stop := context.WithCancel(ctx)
		c.setStop(stop)
		if err := c.Session.Exec(run, line); err != nil && run.Err() == nil {
			fmt.Fprintln(c.term, err)
		}
		c.setStop(nil)
		stop()
	}
	return ctx.Err()
}

func (c *Console) setStop(f context.CancelFunc) {
	c.mu.Lock()
	c.stop = f
	c.mu.Unlock()
}

// interrupt ends the running command, if any.
func (c *Console) interrupt() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop == nil {
		return false
	}
	c.stop()
	return true
}

// breaker reads the terminal ahead, so that Ctrl-C is seen while a command runs.
type breaker struct {
	rw      io.ReadWriter
	console *Console
	once    sync.Once
	in      chan []byte
	rest    []byte
	err     error
}

func (b *breaker) start() {
	b.in = make(chan []byte, 64)
	go func() {
		defer close(b.in)
		for {
			buf := make([]byte, 256)
			n, err := b.rw.Read(buf)
			keep := buf[:0]
			for _, ch := range buf[:n] {
				// Ctrl-C, and Ctrl-Shift-6 as on IOS.
				if (ch == 3 || ch == 30) && b.console.interrupt() {
					continue
				}
				if ch == 3 || ch == 30 {
					ch = 21 // at the prompt it clears the line
				}
				keep = append(keep, ch)
			}
			if len(keep) > 0 {
				b.in <- keep
			}
			if err != nil {
				b.err = err
				return
			}
		}
	}()
}

func (b *breaker) Read(p []byte) (int, error) {
	b.once.Do(b.start)
	for len(b.rest) == 0 {
		more, ok := <-b.in
		if !ok {
			return 0, b.err
		}
		b.rest = more
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *breaker) Write(p []byte) (int, error) { return b.rw.Write(p) }
