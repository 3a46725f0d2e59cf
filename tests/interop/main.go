package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"felloe/tests/interop/matrix"
	"felloe/tests/interop/peers"

	_ "felloe/tests/interop/bfd"
	_ "felloe/tests/interop/bgp"
	_ "felloe/tests/interop/frr"
	_ "felloe/tests/interop/libreswan"
	_ "felloe/tests/interop/overlay"
	_ "felloe/tests/interop/scale"
	_ "felloe/tests/interop/strongswan"
)

// mixed ends a document that is not of one run alone.
const mixed = "\n## How it was put together\n\nSome of the rows are an earlier run's.\n"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fs := flag.NewFlagSet("interop", flag.ExitOnError)
	short := fs.Bool("short", false, "only the short set")
	only := fs.String("only", "", "only the cases whose name matches this regular expression")
	list := fs.Bool("list", false, "list the cases and their rows, and run none")
	docs := fs.String("docs", "", "write the matrix to this file, when all of it was run")
	with := fs.String("with", "", "what an earlier run of the same program has printed: its good rows go into -docs beside those of this run")
	program := fs.String("felloe", "", "the program under test (default: built from ./cmd/felloe)")
	dir := fs.String("dir", "build/interop", "folder for logs, configurations and captures")
	cache := fs.String("cache", "build/cache/peers", "folder for the machines' images")
	verbose := fs.Bool("v", false, "say what happens in the labs")
	if err := fs.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	var cases []matrix.Case
	for _, c := range matrix.Cases() {
		if pattern.MatchString(c.Name) && (!*short || c.Short) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return fmt.Errorf("no case's name matches %q", *only)
	}
	if *list {
		for _, c := range cases {
			fmt.Printf("%s: %s\n", c.Name, c.Title)
			for _, r := range c.Rows {
				fmt.Printf("    %-16s %s\n", r.ID, r.What)
			}
		}
		return nil
	}
	if *docs != "" && *with == "" && (*short || *only != "") {
		return fmt.Errorf("-docs needs a run of everything, or -with the output of an earlier one")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := peers.Sweep(); err != nil {
		return err
	}
	for _, p := range []*string{dir, cache} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
		if err := os.MkdirAll(*p, 0o755); err != nil {
			return err
		}
	}
	felloe := *program
	if felloe == "" {
		felloe = filepath.Join(*dir, "felloe")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", felloe, "./cmd/felloe")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	if felloe, err = filepath.Abs(felloe); err != nil {
		return err
	}
	results, versions := matrix.RunCases(ctx, matrix.Settings{Felloe: felloe, Dir: *dir, Cache: *cache, Out: os.Stdout, Verbose: *verbose}, cases)
	matrix.Table(os.Stdout, results)
	line, good := matrix.Summary(results)
	fmt.Printf("\n%s; logs: %s\n", line, *dir)
	if ctx.Err() != nil {
		return fmt.Errorf("stopped")
	}
	if !good {
		return fmt.Errorf("the matrix is not as it must be")
	}
	if *docs == "" {
		return nil
	}
	if *with != "" {
		text, err := os.Open(*with)
		if err != nil {
			return err
		}
		defer text.Close()
		earlier, err := matrix.Earlier(text)
		if err != nil {
			return err
		}
		if results, err = matrix.Complete(results, earlier); err != nil {
			return err
		}
	}
	f, err := os.Create(*docs)
	if err != nil {
		return err
	}
	if err := matrix.Document(f, results, versions); err != nil {
		return err
	}
	if *with != "" {
		if _, err := fmt.Fprint(f, mixed); err != nil {
			return err
		}
	}
	return f.Close()
}
