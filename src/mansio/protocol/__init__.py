"""Sans-IO fronts: bytes in, bytes out, and the Broker between. Each protocol is a room of its own."""
