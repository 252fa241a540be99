"""One of the two servers, with the clients of a scenario."""

import re
import select
import time
from collections.abc import Callable
from typing import Final

from tests.differential.steps import Arg, Known, Scenario, Step
from tests.differential.vocabulary import KEYS
from tests.resp_client import RespClient, command, parse

SENTINEL: Final = b"\x00until here\x00"
GONE: Final = b"+(the server has closed the connection)\r\n"
WAITING: Final = b"+(waits)\r\n"
NOTHING: Final = b"+(no reply in time)\r\n"
PATIENCE_S: Final = 5.0  # with a server that owes an answer
LIFE_S: Final = 0.004
UNASKED: Final = {"nosuch", "reset"}
UNKNOWN_ENTRY: Final = b"7-7"


class Stuck(Exception):
    """The server did not come to a state that it must come to; the text says which."""


class Side:
    """A server at a port. Replies are bytes; one that is not there is GONE, WAITING or NOTHING."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._control = RespClient(port)
        self.clients: list[RespClient] = []
        self.ids: list[int] = []
        self.entries: list[bytes] = []

    def begin(self, scenario: Scenario) -> None:
        """An empty server, and the scenario's clients."""
        self.end()
        if (reply := self._control.ask("FLUSHALL")) != "OK":
            raise Stuck(f"{self.name}: FLUSHALL was answered {reply!r}")
        self.entries = []
        for protocol in scenario.protocols:
            client = RespClient(self.port, PATIENCE_S)
            self.clients.append(client)
            self.ids.append(client.ask("CLIENT", "ID"))
            if protocol == 3:
                client.ask("HELLO", "3")

    def end(self) -> None:
        """The clients go, and the server knows. Errors: Stuck."""
        for client in self.clients:
            client.close()
        self.clients, self.ids = [], []
        self._until(lambda: self._figure(b"connected_clients") == 1, "its clients are gone")

    def close(self) -> None:
        """Nothing more is asked."""
        for client in (*self.clients, self._control):
            client.close()

    def restarted(self, port: int) -> None:
        """The server is another process now."""
        self.close()
        self.port = port
        self._control = RespClient(port)
        self.clients, self.ids = [], []

    def lacks(self, names: set[str]) -> set[str]:
        """Those of these commands that it does not know."""
        client = RespClient(self.port, PATIENCE_S)
        replies = {name: client.ask(name) for name in sorted(names - UNASKED)}
        client.close()
        return {name for name, reply in replies.items() if "unknown command" in str(reply)}

    def render(self, args: tuple[Arg, ...]) -> bytes:
        """A command's bytes for this server."""
        return command(*(each if isinstance(each, bytes) else self._known(each) for each in args))

    def _known(self, arg: Known) -> bytes:
        if arg.what == "client":
            return b"%d" % self.ids[arg.number % len(self.ids)]
        found = self.entries[-1 - arg.number % len(self.entries)] if self.entries else UNKNOWN_ENTRY
        return arg.before + found

    def send(self, client: int, data: bytes) -> None:
        """As it is; what cannot be sent any more is found when replies are read."""
        try:
            self.clients[client].send(data)
        except OSError:
            pass

    def replies(self, client: int, count: int) -> list[bytes]:
        """The next so many, with what is wrong in the place of those that do not come."""
        try:
            found = self.clients[client].raws(count)
        except TimeoutError:
            return [NOTHING] * count
        except OSError:
            found = []
        return found + [GONE] * (count - len(found))

    def all_said(self, client: int) -> list[bytes]:
        """Whatever has come up to the answer of a PING that is sent for this."""
        self.send(client, command("PING", SENTINEL))
        found: list[bytes] = []
        while not found or (SENTINEL not in found[-1] and found[-1] not in (GONE, NOTHING)):
            found += self.replies(client, 1)
        return found

    def alone(self, data: bytes) -> list[bytes]:
        """What a client of its own hears that says this, until ECHO answers or the connection ends."""
        client = RespClient(self.port, PATIENCE_S)
        self.clients.append(client)
        number = len(self.clients) - 1
        self.send(number, data)
        if data.endswith(b"\n"):  # else the connection has to end
            self.send(number, b"\r\n" + command("ECHO", SENTINEL))
        found: list[bytes] = []
        while not found or (SENTINEL not in found[-1] and found[-1] not in (GONE, NOTHING)):
            found += self.replies(number, 1)
        self.clients.pop().close()
        return found

    def expires(self, args: tuple[Arg, ...]) -> bytes:
        """The command's reply, after the key's life. Redis counts it until somebody looks: so all are looked at."""
        self._control.send(self.render(args))
        said = self._control.raw()
        time.sleep(LIFE_S)
        self._control.ask("EXISTS", *KEYS)
        return said

    def scan(self, step: Step) -> bytes:
        """All keys that SCAN finds, in order, as one reply."""
        keys: set[bytes] = set()
        cursor = b"0"
        while True:
            self.send(step.client, self.render((b"SCAN", cursor, *step.args[2:])))
            (raw,) = self.replies(step.client, 1)
            reply = parse(raw)[0]
            if not isinstance(reply, list):
                return raw
            cursor = reply[0]
            keys.update(reply[1])
            if cursor == b"0":
                break
        return b"*%d\r\n" % len(keys) + b"".join(command(key)[4:] for key in sorted(keys))

    def waits_or_replies(self, client: int, waiting: int) -> bytes:
        """What a command that was sent leads to, with so many clients waiting before: WAITING, or its reply."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self._heard([client], 0.0):
                return self.replies(client, 1)[0]
            if self._figure(b"blocked_clients") > waiting:
                return WAITING
        return NOTHING

    def served(self, waiting: set[int]) -> dict[int, bytes]:
        """Which of those that wait do so no longer, and their replies."""
        count = len(waiting) - self._figure(b"blocked_clients")
        found: dict[int, bytes] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < count and time.monotonic() < deadline:
            for client in self._heard(sorted(waiting - found.keys()), 1.0):
                found[client] = self.replies(client, 1)[0]
        if len(found) < count:
            raise Stuck(f"{self.name}: {count} waiting clients were served, {len(found)} told")
        return found

    def _heard(self, clients: list[int], timeout_s: float) -> list[int]:
        by_number = {self.clients[client].socket.fileno(): client for client in clients}
        ready, _, _ = select.select(list(by_number), [], [], timeout_s)
        return [by_number[number] for number in ready]

    def _figure(self, name: bytes) -> int:
        info = self._control.ask("INFO", "clients")
        text = info if isinstance(info, bytes) else getattr(info, "text", b"")
        found = re.search(rb"^%b:(\d+)" % name, text if isinstance(text, bytes) else b"", re.M)
        if found is None:
            raise Stuck(f"{self.name}: INFO clients does not say {name.decode()}: {info!r}")
        return int(found[1])

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise Stuck(f"{self.name}: not in {PATIENCE_S:.0f} s: {what}")

    def new_client(self) -> int:
        """One more client, in database 0 and RESP3; its number."""
        client = RespClient(self.port, PATIENCE_S)
        client.ask("HELLO", "3")
        self.clients.append(client)
        self.ids.append(0)
        return len(self.clients) - 1

    def keys_of(self, client: int) -> list[bytes]:
        """All keys of the database in which the client is, in order."""
        return sorted(self.clients[client].ask("KEYS", "*"))

    def type_of(self, client: int, key: bytes) -> str:
        """What Redis calls the type of a key."""
        return str(self.clients[client].ask("TYPE", key))
