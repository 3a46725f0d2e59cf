package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"felloe/tests/soak/hubs"
)

func main() {
	o := hubs.Options{Goroutines: true}
	flag.IntVar(&o.Spokes, "spokes", 50, "how many spokes")
	flag.IntVar(&o.Hubs, "hubs", 3, "how many hubs")
	flag.DurationVar(&o.For, "for", 10*time.Minute, "how long hubs are killed")
	flag.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano()), "what decides which, when and how")
	flag.StringVar(&o.Keep, "keep", "", "a folder for what the routers show if something is wrong at the end")
	flag.Uint64Var(&o.Memory, "memory", 0, "the most MB of memory that it may take; 0 is 200, and 16 for each router")
	flag.StringVar(&o.Profile, "profile", "", "a folder for heap and goroutine profiles as the memory grows")
	flag.Parse()
	if o.Memory == 0 {
		o.Memory = 200 + 16*uint64(max(o.Spokes+o.Hubs, 0))
	}
	start := time.Now()
	o.Say = func(format string, a ...any) {
		fmt.Printf("%7.1f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, a...))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := hubs.Run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "soak (seed %d): %v\n", o.Seed, err)
		stop()
		os.Exit(1)
	}
	fmt.Printf("passed (seed %d)\n", o.Seed)
}
