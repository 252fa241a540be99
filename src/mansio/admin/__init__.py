"""What operators deal with: passwords, definitions files, the commands of the command line. No sockets, no tasks."""
