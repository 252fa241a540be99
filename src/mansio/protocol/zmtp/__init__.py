"""ZeroMQ: the wire protocol ZMTP 3 and what sockets of each type can do here."""
