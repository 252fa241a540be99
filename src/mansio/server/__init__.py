"""The only layer with sockets, tasks and a clock."""
