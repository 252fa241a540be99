"""Bytes to values and back: stateless, no IO, never trusts a length from the wire."""
