"""The embedded engine's store: a log in segment files. Synchronous; start reading in store.py."""
