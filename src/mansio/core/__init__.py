"""The pure core: queues, routing and the Broker. No IO, no clock, no randomness: all of that comes in as arguments."""
