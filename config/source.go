package config

type source struct{}
