// Package config is the configuration of a router: what may be written in TOML, what it means, and what is wrong with it.
package config
