"""All commands by name. A family of commands is a module with a list `COMMANDS`."""

import sys
from typing import Final

from mansio.codec.resp_quick import Entry
from mansio.protocol.resp import (
    blocking_lists,
    channel_commands,
    client_commands,
    command_commands,
    common_parts,
    config_commands,
    expiring,
    info,
    keys,
    list_ends,
    lists,
    numbers,
    ranges,
    reserve,
    scripts,
    server_commands,
    session_commands,
    stream_groups,
    stream_info,
    stream_pending,
    stream_reading,
    streams,
    strings,
    transactions,
)
from mansio.protocol.resp.command import GATHERS, READ, WRITE, Command

COMMANDS: Final[dict[bytes, Command]] = {}
"""By name in upper case."""
_EITHER_CASE: Final[dict[bytes, Command]] = {}
"""By name in upper and in lower case, as nearly all clients write it."""

_FAMILIES: Final = (
    blocking_lists,
    channel_commands,
    client_commands,
    command_commands,
    common_parts,
    config_commands,
    expiring,
    info,
    keys,
    list_ends,
    lists,
    numbers,
    ranges,
    reserve,
    scripts,
    server_commands,
    session_commands,
    stream_groups,
    stream_info,
    stream_pending,
    stream_reading,
    streams,
    strings,
    transactions,
)

for _family in _FAMILIES:
    for _command in _family.COMMANDS:
        COMMANDS[_command.name.upper().encode()] = _command
        _EITHER_CASE[_command.name.upper().encode()] = _command
        _EITHER_CASE[_command.name.encode()] = _command

ENTRIES: Final[dict[bytes, Entry]] = {
    name: (
        command.handler,
        abs(command.arity),
        command.arity if command.arity >= 0 else sys.maxsize,
        command.flags & (WRITE | READ),
        bool(command.flags & GATHERS),
        command,
    )
    for name, command in _EITHER_CASE.items()
    if not command.subcommands
}
"""Those that are executed at once, by all names of `known`."""

known = _EITHER_CASE.get
"""The command of this name, if it is written in one case; the quick part of `find`."""


def find(name: bytes) -> Command | None:
    """The command of this name, in whatever case."""
    return known(name) or known(name.upper())
