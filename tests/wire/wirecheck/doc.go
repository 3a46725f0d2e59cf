// Command wirecheck looks at every byte of captures of underlay links and fails when it finds a GRE packet, or an
// overlay or LAN address in clear; it is package wire for shell scripts.
//
//	wirecheck -clear 10.10.10.0/24,192.168.22.2 [-keys KEYLOG-FOLDER [-hub ADDRESS]] CAPTURE…
//
// With -keys tshark reads the captures too: every frame must be well-formed, and all IKE and ESP must
// decrypt. With -hub each NHRP Resolution Reply is shown with its outer addresses, and must not touch the hub.
package main
