// Package nic asks the Linux kernel about one of its network interfaces and tells it the little that a packet driver
// needs: up, and no merging of received frames. Watch follows the carrier through a netlink socket, without a thread.
//
// A NIC belongs to the network namespace of the thread that opened it. Addresses, routes and everything else that the
// kernel could do with an interface are left alone: the router does those.
package nic
