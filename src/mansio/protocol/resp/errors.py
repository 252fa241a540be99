"""What a Redis client is told when a command fails: texts and prefixes of redis-server 7.0.15; clients match them."""

from typing import Final

from mansio.core.errors import AccessRefused, BrokerError
from mansio.core.errors import MustWait as MustWait
from mansio.core.keyspace import WrongKind


class CommandError(Exception):
    """A command that was refused. Nothing has changed; `text` begins with the prefix, such as ERR or WRONGTYPE."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ProtocolError(Exception):
    """Bytes that are no command: the client is told, and its connection ends."""


SYNTAX: Final = "ERR syntax error"
NOT_AN_INTEGER: Final = "ERR value is not an integer or out of range"
NOT_A_FLOAT: Final = "ERR value is not a valid float"
WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
NO_SUCH_KEY: Final = "ERR no such key"
OUT_OF_RANGE: Final = "ERR index out of range"
NO_AUTH: Final = "NOAUTH Authentication required."
NO_PERMISSION: Final = "NOPERM this user has no permission in the virtual host of this database"
WRONG_PASS: Final = "WRONGPASS invalid username-password pair or user is disabled."
OUT_OF_MEMORY: Final = "OOM command not allowed when used memory > 'maxmemory'."
DISK_FULL: Final = "MISCONF the disk of the log is full, but for what acknowledgements need; free some space or consume"
NOT_STORED: Final = "ERR the log could not be written: what was not confirmed may be lost"


def refusal(error: BrokerError) -> CommandError:
    """What the client is told of an error of the Broker's."""
    if isinstance(error, WrongKind):
        return CommandError(WRONG_TYPE)
    kind = "NOPERM" if isinstance(error, AccessRefused) else "ERR"
    return CommandError(f"{kind} {error.text}")


def wrong_number(name: str) -> CommandError:
    """The error for a command with too few or too many arguments; `name` in lower case."""
    return CommandError(f"ERR wrong number of arguments for '{name}' command")


def wrong_subcommand(args: list[bytes]) -> CommandError:
    """The error of subcommands that count their arguments themselves."""
    command, name = (word.decode("utf-8", "surrogateescape") for word in args[:2])
    return CommandError(
        f"ERR unknown subcommand or wrong number of arguments for '{name}'. Try {command.upper()} HELP."
    )
