//go:build race

package scenario

// slower is how many times longer a failover may take with the race detector: six labs of routers that run at a tenth of
// their speed share the machine. The figures of the lab files are held by `felloe lab run`.
const slower = 5
