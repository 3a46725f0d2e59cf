// Command soak wears a FlexVPN network out: many spokes at several hubs, all in this process, and hubs that are cut off or
// killed in random order. At the end every spoke must reach every LAN, and nothing must be left of what came and went.
//
//	go run ./tests/soak [-spokes 50] [-hubs 3] [-for 10m] [-seed N] [-keep FOLDER] [-memory MB] [-profile FOLDER]
//
// The seed is printed: the same one kills the same hubs in the same order. With -keep, what all routers show goes into files
// when something is wrong at the end. The process may take -memory MB at the most (20 or so for each router), however little
// of the machine it gets; -profile has it write what it takes them for. Package hubs does the work; tests/scenario runs a short one.
package main
