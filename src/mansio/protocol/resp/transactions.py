"""MULTI, EXEC, DISCARD, WATCH, UNWATCH: commands that are executed in one go. Rules and texts of redis-server 7.0.15.

    MULTI ─► queued, queued, … ──EXEC──► each is made ready, then all are executed in one turn, in one entry of the log
                │ one that cannot be queued         └─ a watched key has changed: none is
                └────────────────────► EXECABORT

A watched key has changed also if messages came into it, or left it, over AMQP: keys are looked at, not listened to.
"""

from typing import TYPE_CHECKING, Any, Final

from mansio.core.errors import BrokerError
from mansio.core.recall import Kept, TooMuch
from mansio.protocol.resp.access import readable
from mansio.protocol.resp.command import NO_MULTI, NOW, READ, WRITE, Command
from mansio.protocol.resp.errors import CommandError, MustWait
from mansio.protocol.resp.reply import NO_REPLY, NULL_ARRAY, OK, QUEUED

if TYPE_CHECKING:
    from mansio.protocol.resp.connection import RespConnection

QUEUED_BYTES_MAX: Final = 256 << 20
"""What the commands of one transaction may hold: all of it goes into one entry of the log."""
ABORTED: Final = "EXECABORT Transaction discarded because of previous errors."
MISSPELT: Final = (
    "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
)
TOO_MUCH: Final = (
    "EXECABORT Transaction discarded because what it needs of messages that are paged out is more than half of "
    "memory_budget"
)
NOT_AT_HAND: Final = (
    "ERR this command needs messages that are paged out, since commands before it in the transaction have changed the "
    "key"
)
NOT_ALLOWED: Final = "ERR Command not allowed inside a transaction"
TOO_LARGE: Final = "ERR the commands of the transaction have more than 256 MiB"


class Transaction:
    """What was queued since MULTI. `failed`: something could not be."""

    __slots__ = ("bytes", "failed", "kept", "queued")

    def __init__(self) -> None:
        self.queued: list[tuple[Command, list[bytes]]] = []
        self.bytes = 0
        self.failed = False
        self.kept: Kept | None = None  # what has to be in memory

    def let_go(self) -> None:
        """It is over."""
        if self.kept is not None:
            self.kept.let_go()

    def queue(self, client: "RespConnection", command: Command, args: list[bytes]) -> Any:
        """One more: QUEUED; or CommandError, and the transaction is void."""
        if command.flags & NO_MULTI:
            raise CommandError(NOT_ALLOWED)
        self.bytes += sum(map(len, args))
        if self.bytes > QUEUED_BYTES_MAX:
            self.queued.clear()
            raise CommandError(TOO_LARGE)
        self.queued.append((command, args))
        return QUEUED


def multi(client: "RespConnection", args: list[bytes]) -> Any:
    """MULTI"""
    if client.transaction is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    client.transaction = Transaction()
    return OK


def discard(client: "RespConnection", args: list[bytes]) -> Any:
    """DISCARD"""
    if client.transaction is None:
        raise CommandError("ERR DISCARD without MULTI")
    forget(client)
    return OK


def forget(client: "RespConnection") -> None:
    """The client has no transaction any more and watches nothing."""
    client.transaction = None
    client.watched.clear()


def exec_(client: "RespConnection", args: list[bytes]) -> Any:
    """EXEC"""
    transaction = client.transaction
    if len(args) != 1:  # redis-server says so itself, and throws the transaction away
        forget(client)
        raise CommandError(MISSPELT)
    if transaction is None:
        raise CommandError("ERR EXEC without MULTI")
    if transaction.failed:
        forget(client)
        raise CommandError(ABORTED)
    if client.watched.changed():
        forget(client)
        return NULL_ARRAY
    _make_ready(client, transaction)
    forget(client)
    return _execute(client, transaction)


def _make_ready(client: "RespConnection", transaction: Transaction) -> None:
    """From here on nothing has to wait; MustWait, and it is to be called again."""
    paging = client.broker.paging
    if paging.budget_bytes:
        if transaction.kept is None:
            changes = any(command.flags & WRITE for command, _ in transaction.queued)
            transaction.kept = Kept(paging, changes)
        _load(client, transaction, transaction.kept)
    journal = client.broker.journal
    adds = any(command.flags & WRITE for command, _ in transaction.queued)
    if adds and transaction.bytes > journal.room_bytes and not client.broker.low_on_disk:
        journal.waiters[client] = None
        raise MustWait


def _load(client: "RespConnection", transaction: Transaction, kept: Kept) -> None:
    """What the commands need is in memory, as far as that can be told before they are executed. Messages that were read
    stay there, so that each call comes further."""
    client.kept = kept
    kept.reach.clear()
    try:
        for command, args in transaction.queued:
            if command.prepare is not None:
                try:
                    command.prepare(client, args)
                except TooMuch:
                    forget(client)
                    raise CommandError(TOO_MUCH) from None
                except (CommandError, BrokerError):
                    pass  # it will fail in its place
    finally:
        client.kept = client.recall = None


def _execute(client: "RespConnection", transaction: Transaction) -> list[Any]:
    replies: list[Any] = []
    journal = client.broker.journal
    journal.begin(transaction.bytes)
    client.executing = True
    try:
        for command, args in transaction.queued:
            reply = _reply(client, command, args)
            if reply is not NO_REPLY:
                replies.append(reply)
    finally:
        client.executing = False
        client.broker.write_gathered()
        journal.end()
    return replies


def _reply(client: "RespConnection", command: Command, args: list[bytes]) -> Any:
    try:
        reply = client.reply_to(command, args)
    except MustWait:
        return CommandError(NOT_AT_HAND)
    if client.clients.watching:
        client.clients.tell_monitors(client, command, args)
    return reply


def watch(client: "RespConnection", args: list[bytes]) -> Any:
    """WATCH key [key ...]"""
    if client.transaction is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    for key in args[1:]:
        readable(client, key)
    for key in args[1:]:
        client.watched.add(client.keys, key)
    return OK


def unwatch(client: "RespConnection", args: list[bytes]) -> Any:
    """UNWATCH"""
    client.watched.clear()
    return OK


COMMANDS: Final = [
    Command("multi", multi, 1, NOW),
    Command("exec", exec_, -1, NOW),
    Command("discard", discard, 1, NOW),
    Command("watch", watch, -2, NOW | READ, 1, -1, 1),
    Command("unwatch", unwatch, 1),
]
