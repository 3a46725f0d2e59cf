//go:build !race

package scenario

const slower = 1
