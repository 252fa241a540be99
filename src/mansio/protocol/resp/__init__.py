"""The front for Redis clients: RESP2 and RESP3, on queues, streams and keys of the broker."""
