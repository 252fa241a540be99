"""The part of a connection that executes commands, one after the other, and holds them back where they must wait.

items ─► _pending ──run──► execute, or a row of commands that are alike at once ─► replies
           ▲ waiting    a message is read from the log, room is waited for, or others have their turn: `go_on`
           └ blocking   the command waits for something to come: `unblock_with`
"""

from collections.abc import Callable
from typing import Any, Final

from mansio.codec.resp import apart, encode_reply
from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.core.recall import Kept, Recall
from mansio.core.session import Session
from mansio.protocol.resp import errors, table
from mansio.protocol.resp.clients import Clients, clients_of
from mansio.protocol.resp.command import (
    GATHERS,
    NO_AUTH,
    NOW,
    READ,
    REPEATS,
    SUBSCRIBED,
    WRITE,
    Command,
)
from mansio.protocol.resp.errors import CommandError, MustWait
from mansio.protocol.resp.output import OFF, SKIP, SKIP_NEXT, UNREAD_BYTES_MAX, Output
from mansio.protocol.resp.patience import Patience
from mansio.protocol.resp.reply import (
    NO_REPLY,
    NULL_ARRAY,
    QUEUED,
    Raw,
    encode,
    encode_error,
    encode_rare,
)

COMMANDS_PER_TURN: Final = 512
"""Then others have their turn. A row of commands that are alike counts as one, and one more for each 16."""
REPLY_BYTES_PER_TURN: Final = 1 << 20
"""The same by what is answered, but for the last reply."""

known: Final = table.known

Row = tuple[list[bytes], int, list[bytes] | None, list[int] | None]
"""Commands that are alike: see `codec.resp.Scan.scan`."""


FOREIGN: Final = (b"post", b"host:")
"""With these words lines begin that a browser sends: behind them might be commands that a web page has chosen. The
connection is closed without a word, as redis-server does it."""


class Executing(Output):
    """See connection.py, which has the rest."""

    executing: bool
    paused: bool
    session: Session | None
    name: bytes

    def __init__(
        self, broker: Broker, announce: list[Any], now_ns: int, waits_for_log: bool
    ) -> None:
        self.clients: Clients = clients_of(broker)
        super().__init__(announce, now_ns, self.clients, table.ENTRIES)
        self.broker = broker
        self.known = False  # it has logged in, or need not
        self.mute = 0  # OFF, SKIP, SKIP_NEXT
        self.subscriptions = 0  # channels and patterns, of all kinds
        self._transaction: Any = None
        self.patience = Patience(broker)
        self.recall: tuple[list[bytes], Recall] | None = None  # of the command that has to wait
        self.kept: Kept | None = None  # while a transaction is made ready: see `Kept`
        self._waits_for_log = waits_for_log
        self._cancel: Callable[[], None] | None = None
        self._nothing: Any = None

    # -- states

    @property
    def transaction(self) -> Any:
        """What MULTI has begun, or None: `queue(client, command, args)` answers the reply of a command that it takes;
        `failed` is set when one was refused before it got there, `let_go()` is called when it is over."""
        return self._transaction

    @transaction.setter
    def transaction(self, transaction: Any) -> None:
        if self._transaction is not None:
            self._transaction.let_go()
        self._transaction = transaction
        self.looked()

    def looked(self) -> None:
        """What `unusual` depends on has changed."""
        self.unusual = bool(
            self.session is None
            or self._transaction is not None
            or self.mute
            or (self.subscriptions and self.proto == 2)
        )

    # -- pending commands

    def run(self) -> None:
        """Executes what is pending, as far as it may."""
        pending = self._pending
        budget = COMMANDS_PER_TURN
        enough = self.said_bytes + REPLY_BYTES_PER_TURN
        clients = self.clients
        while pending and not (self.waiting or self.blocking or self.closed):
            if budget <= 0 or self.said_bytes > enough:
                self.waiting = True
                self.broker.resumed.append(self)
                return
            if self.unread_bytes > UNREAD_BYTES_MAX:
                self.waiting = True  # until the client reads
                return
            item = pending.popleft()
            budget -= 1
            try:
                if type(item) is list:
                    self.execute(item)
                else:
                    budget -= self._execute_row(item)
            except MustWait:
                pending.appendleft(item)
                self.waiting = True
            if clients.ready or clients.stirred:
                self.serve()

    def execute_one(self, args: list[bytes]) -> None:
        """See `Quick`."""
        self._pending.append(args)
        self.run()

    def failed(self, error: Exception, args: list[bytes]) -> Any:
        """See `Quick`."""
        if isinstance(error, CommandError):
            return error
        if isinstance(error, BrokerError):
            return errors.refusal(error)
        if isinstance(error, MustWait):
            self._pending.append(args)
            self.waiting = True
            return None
        raise error

    def flush(self) -> None:
        """See `Quick`."""
        self.broker.lists.flush()

    def serve(self) -> None:
        """See `Quick`."""
        if self.broker.lists.ready:
            self.broker.waiting_lists.serve()
        self.broker.streams.watching.serve()

    def _execute_row(self, row: Row) -> int:
        """Commands that are alike: one by one only where each has a say. What it cost; MustWait."""
        args, times, values, counts = row
        command = table.find(args[0])
        if (
            command is None
            or self.unusual
            or self.clients.watching
            or not (command.rows is not None or command.flags & REPEATS)
            or not command.takes(len(args))
        ):
            self._pending.extendleft(reversed(apart(*row)))
            return 0
        if command.rows is None:
            reply = self.reply_to(command, args)
            if reply is NO_REPLY or self.closed:
                return 0
            data = encode(reply, self.proto)
            done = min(times, max(REPLY_BYTES_PER_TURN // len(data), 1))
            self.send_raw(data * done)
        else:
            if self.broker.lists.gathered and not command.flags & GATHERS:
                self.broker.lists.flush()
            try:
                self.wait_for_log(command.flags)
                data, done = command.rows(self, args, times, values, counts)
            except BrokerError as error:
                data, done = encode_error(errors.refusal(error).text) * times, times
            except CommandError as error:
                data, done = encode_error(error.text) * times, times
            self.send_raw(data)
        if done < times:
            self._pending.appendleft(_rest(row, done))
        self.clients.commands += done
        return done >> 4

    def execute(self, args: list[bytes]) -> None:
        """One command. MustWait: it has to be executed again."""
        command = known(args[0]) or table.find(args[0])
        clients = self.clients
        if self.unusual or clients.watching or command is None or command.subcommands:
            self._execute_unusual(command, args)
            return
        arity = command.arity
        if len(args) == arity or (arity < 0 and len(args) >= -arity):
            reply = self.reply_to(command, args)
        else:
            reply = errors.wrong_number(command.name)
        clients.commands += 1
        if type(reply) is Raw:
            self.send_raw(reply.data)
        elif reply is not NO_REPLY and not self.closed:
            self.send_raw(encode_reply(reply, self.proto, encode_rare))

    def _execute_unusual(self, command: Command | None, args: list[bytes]) -> None:
        """The same for a client in some state, for a command that has subcommands, and for one that there is not."""
        if command is None and args[0].lower() in FOREIGN:
            self.end("it speaks HTTP, as a web page might that attacks servers of this machine")
            return
        try:
            command = resolve(command, args)
            self._check_state(command)
            if self._transaction is not None and not command.flags & NOW:
                reply = self._transaction.queue(self, command, args)
            else:
                if self.clients.watching:
                    self.clients.check_pause(self, command)
                reply = self.reply_to(command, args)
        except CommandError as error:
            reply, command = error, None
            if self._transaction is not None:
                self._transaction.failed = True
        self.clients.commands += 1
        if reply is not NO_REPLY:
            self.answer(encode(reply, self.proto))
        if self.clients.watching and reply is not QUEUED and command is not None:
            self.clients.tell_monitors(self, command, args)
        if self.mute & (SKIP | SKIP_NEXT):
            self.mute = SKIP if self.mute & SKIP_NEXT else self.mute & OFF
            self.looked()

    def _check_state(self, command: Command) -> None:
        if not self.known and not command.flags & NO_AUTH:
            raise CommandError(errors.NO_AUTH)
        if self.session is None and command.flags & (WRITE | READ):
            raise CommandError(errors.NO_PERMISSION)
        if self.subscriptions and self.proto == 2 and not command.flags & SUBSCRIBED:
            raise CommandError(
                f"ERR Can't execute '{command.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
                "allowed in this context"
            )

    def reply_to(self, command: Command, args: list[bytes]) -> Any:
        """Executes a command that may be executed, also one of a transaction: its reply. MustWait."""
        self.last_command = command
        if self.broker.lists.gathered and not command.flags & GATHERS:
            self.broker.lists.flush()
        try:
            flags = command.flags
            if flags & (WRITE | READ):
                self.wait_for_log(flags)
            return command.handler(self, args)
        except CommandError as error:
            return error
        except BrokerError as error:
            return errors.refusal(error)

    def hold(self) -> None:
        """See `Outbox`. Where replies do not wait for the log, none does."""
        if self._waits_for_log:
            super().hold()

    def wait_for_log(self, flags: int) -> None:
        """What is said from here on waits until the log has what was changed."""
        if self._waits_for_log and self.session is not None:
            if flags & WRITE:
                self.broker.confirms.changed(self.session)
            elif flags & READ:
                self.broker.confirms.observed(self.session)

    def answer(self, data: bytes) -> None:
        """The reply to a command, unless the client wants none."""
        if not self.mute & (OFF | SKIP) and not self.closed:
            self.send_raw(data)

    # -- commands that wait

    def block(self, cancel: Callable[[], None], nothing: Any = NULL_ARRAY) -> None:
        """The command that is executed waits: nothing behind it is looked at until `unblock_with`. `cancel`: it is not
        to wait any more, since the client is gone or CLIENT UNBLOCK was called. `nothing`: its reply when its time is
        over; NO_REPLY: CLIENT UNBLOCK does not concern it."""
        self.blocking = True
        self._cancel = cancel
        self._nothing = nothing

    def unblock_with(self, reply: Any) -> None:
        """The command that waits has its reply, or needs none. What is pending goes on in the next pass."""
        if self._finishing is not None:
            return
        self.blocking = False
        self._cancel = None
        if reply is not NO_REPLY:
            self.answer(encode(reply, self.proto))
        if not self.waiting and (self._pending or self.tail or self.paused or self._scan.fault):
            self.waiting = True  # until `go_on`
            self.broker.resumed.append(self)

    def stop_waiting(self, error: CommandError | None) -> bool:
        """CLIENT UNBLOCK: the command that waits has this reply, or the one that it has when its time is over. Whether
        there was one."""
        if self._cancel is None or self._nothing is NO_REPLY:
            return False
        cancel, self._cancel = self._cancel, None
        cancel()
        self.unblock_with(self._nothing if error is None else error)
        return True

    def give_up(self) -> None:
        """The client is gone: its command does not wait any more."""
        if self._cancel is not None:
            cancel, self._cancel = self._cancel, None
            cancel()
        self._pending.clear()


def resolve(command: Command | None, args: list[bytes]) -> Command:
    """The command or subcommand that these arguments are; CommandError if there is none, or for their number."""
    if command is None:
        raise unknown_command(args)
    if command.subcommands and len(args) > 1:
        found = command.subcommands.get(args[1].upper())
        if found is None:
            shown = args[1][:128].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            name = args[0].decode("utf-8", "surrogateescape").upper()
            raise CommandError(f"ERR unknown subcommand '{shown}'. Try {name} HELP.")
        command = found
    if not command.takes(len(args)):
        raise errors.wrong_number(command.name)
    return command


def unknown_command(args: list[bytes]) -> CommandError:
    """The error for a command that there is not (text of redis-server 7.0.15)."""
    shown = b""
    for each in args[1:]:
        if len(shown) >= 128:
            break
        shown += b"'%b' " % each[: 128 - len(shown)].partition(b"\0")[0]
    name = args[0][:128].partition(b"\0")[0]
    text = b"ERR unknown command '%b', with args beginning with: %b" % (name, shown)
    return CommandError(text.decode("utf-8", "surrogateescape"))


def _rest(row: Row, done: int) -> Any:
    """What is left of a row when `done` of its commands are."""
    args, times, values, counts = row
    if values is None:
        return (args, times - done, None, None) if times - done > 1 else args
    gone = sum(counts[:done]) if counts is not None else done
    values = values[gone:]
    counts = counts[done:] if counts is not None else None
    first = args[:2] + values[: counts[0] if counts is not None else 1]
    return (first, times - done, values, counts) if times - done > 1 else first
