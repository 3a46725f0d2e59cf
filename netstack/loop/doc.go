// Package loop is a router's control goroutine. Protocol engines own no goroutine, clock or lock: everything that
// touches them runs here, one function after the other.
//
//	data plane punts ─┐
//	timers ───────────┼─► Post ─► one goroutine ─► engines
//	console, API ─────┘   (Call waits for the answer)
//
// A panic in a posted function is caught, logged with the name that the function was posted under, counted, and handed
// to the handler that OnPanic set, which drops the session to blame. The loop goes on with the next function.
package loop
