"""All commands by name. A family of commands is a module with a list `COMMANDS`."""

from typing import Final

from mansio.protocol.resp import (
    blocking_lists,
    channel_commands,
    client_commands,
    command_commands,
    config_commands,
    expiring,
    info,
    keys,
    lists,
    numbers,
    ranges,
    server_commands,
    session_commands,
    strings,
    transactions,
)
from mansio.protocol.resp.command import Command

COMMANDS: Final[dict[bytes, Command]] = {}
"""By name in upper case."""

_FAMILIES: Final = (
    blocking_lists,
    channel_commands,
    client_commands,
    command_commands,
    config_commands,
    expiring,
    info,
    keys,
    lists,
    numbers,
    ranges,
    server_commands,
    session_commands,
    strings,
    transactions,
)

for _family in _FAMILIES:
    for _command in _family.COMMANDS:
        COMMANDS[_command.name.upper().encode()] = _command


def find(name: bytes) -> Command | None:
    """The command of this name, in whatever case."""
    return COMMANDS.get(name) or COMMANDS.get(name.upper())
