// Package message is the codec of IKEv2 messages.
package message
