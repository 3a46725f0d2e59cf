// Package nstest makes network namespaces of the kernel for tests of packet drivers: each lives on a locked thread of the
// test process and is gone, with its interfaces, when the test ends. Root, or CAP_NET_ADMIN and CAP_SYS_ADMIN, is needed.
package nstest
