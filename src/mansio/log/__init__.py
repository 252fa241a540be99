"""Durable storage behind one small interface. Start reading in base.py."""

from mansio.log.base import (
    Bounds,
    Capabilities,
    Damaged,
    Fenced,
    Full,
    Log,
    LogError,
    Missing,
    Space,
    Unavailable,
)
from mansio.log.entry import Entry, Record, decode_entry, encode_entry
from mansio.log.group_commit import GroupCommit
from mansio.log.memory import MemoryLog, MemoryStore

__all__ = [
    "Bounds",
    "Capabilities",
    "Damaged",
    "Entry",
    "Fenced",
    "Full",
    "GroupCommit",
    "Log",
    "LogError",
    "MemoryLog",
    "MemoryStore",
    "Missing",
    "Record",
    "Space",
    "Unavailable",
    "decode_entry",
    "encode_entry",
]
