// Command interop runs Felloe against software written by others and says what works.
//
//	go run ./tests/interop [-short] [-only PATTERN] [-list] [-docs docs/interop.md]
//
// Cases come from the packages that it imports; felloe/tests/interop/matrix says what a case is and felloe/tests/interop/peers
// what it can use. It must run as root, installs the Debian packages that its cases need, and ends with an error when a row
// of the matrix did not come out as it must. -docs is for a whole run: it writes the documentation's table.
//
// The short set (-short) is what the project's tests run: it needs no virtual machine, since the image of one takes minutes to
// make. The ready labs with software of others are not in it either: tests/scenario runs one of them.
package main
