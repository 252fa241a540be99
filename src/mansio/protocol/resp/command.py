"""What a command is: its handler, how many arguments it takes, what it does to which keys."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

Handler = Callable[[Any, list[bytes]], Any]
"""Called with the connection (RespConnection) and all arguments, the name first; answers a reply (reply.py) or raises
CommandError, MustWait or a BrokerError, before anything has changed."""

WRITE: Final = 1
"""It may change what is durable: its reply waits for the log."""
READ: Final = 2
"""It tells of what may not be durable yet: then its reply waits as well."""
BLOCKING: Final = 4
"""It may wait for something; in a transaction it does not."""
NO_AUTH: Final = 8
"""Allowed before a login."""
NO_MULTI: Final = 16
"""Not allowed in a transaction."""
SUBSCRIBED: Final = 32
"""Allowed in RESP2 while subscribed to channels."""
NOW: Final = 64
"""Executed at once in a transaction, not queued."""
REPEATS: Final = 128
"""The same once more, at once, changes nothing more and has the same reply: a row of these is executed once."""
ADMIN: Final = 256
"""It concerns the server: MONITOR does not show it."""

GATHERS: Final = 512
"""It pushes, and may do so to what was gathered of pushes: see `core.lists`."""

RowHandler = Callable[
    [Any, list[bytes], int, list[bytes] | None, list[int] | None], tuple[bytes, int]
]
"""Called with (client, args, times, values, counts), see `codec.resp.Scan.scan`, for commands in a row that are alike:
answers the replies of the first ones, as bytes, and how many these are, at least one. Errors are those of each."""


class Command(NamedTuple):
    """One command, or one subcommand such as CLIENT LIST. See COMMAND INFO for arity and keys."""

    name: str
    """In lower case."""
    handler: Handler
    arity: int
    """Number of arguments, the name included; negative: at least so many."""
    flags: int = 0
    first_key: int = 0
    last_key: int = 0
    key_step: int = 0
    prepare: Handler | None = None
    """Called for each command of a transaction before the first one is executed: raises MustWait where it would."""
    rows: RowHandler | None = None
    """Executes many that are alike at once, never within a transaction."""
    subcommands: "Mapping[bytes, Command] | None" = None
    """By name in upper case. Their names are such as `client|list`, their arity includes both words."""

    def takes(self, count: int) -> bool:
        """Whether it can have so many arguments, the name included."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity


def container(name: str, subcommands: list[Command], flags: int = 0) -> Command:
    """A command that is nothing without a subcommand."""
    by_name = {each.name.partition("|")[2].upper().encode(): each for each in subcommands}
    return Command(name, _alone, -2, flags, subcommands=by_name)


def _alone(client: "RespConnection", args: list[bytes]) -> Any:
    raise AssertionError(f"{args[0]!r} alone is refused for its arity")
