"""All commands by name. A family of commands is a module with a list `COMMANDS`."""

from typing import Final

from mansio.protocol.resp import (
    channel_commands,
    client_commands,
    command_commands,
    config_commands,
    info,
    server_commands,
    session_commands,
)
from mansio.protocol.resp.command import Command

COMMANDS: Final[dict[bytes, Command]] = {}
"""By name in upper case."""

for _family in (
    session_commands,
    channel_commands,
    client_commands,
    command_commands,
    config_commands,
    info,
    server_commands,
):
    for _command in _family.COMMANDS:
        COMMANDS[_command.name.upper().encode()] = _command


def find(name: bytes) -> Command | None:
    """The command of this name, in whatever case."""
    return COMMANDS.get(name) or COMMANDS.get(name.upper())
