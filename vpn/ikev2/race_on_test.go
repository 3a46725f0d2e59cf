//go:build race

package ikev2

const raced = true
