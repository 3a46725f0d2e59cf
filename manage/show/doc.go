// Package show makes the answers of the show commands: each is a typed value that prints itself as IOS's table and
// marshals to JSON with stable names. It reads snapshots of the other rooms and changes nothing.
//
// Durations in JSON are seconds or, with the suffix _ns, nanoseconds; byte counts are bytes; a missing address is "".
package show
