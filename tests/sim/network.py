"""The lines between clients and the broker, and the server's turns: what happens to bytes, and the oracle beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from mansio.codec import amqp_methods as m
from mansio.core.check import check
from mansio.core.dispatch import Consumer
from mansio.core.queue import Queue
from mansio.core.session import Channel
from mansio.log.memory import MemoryStore
from tests.sim.access_oracle import Oracles
from tests.sim.client import HEARTBEAT_FRAME, Client
from tests.sim.durable import Durable
from tests.sim.events import Died, Event
from tests.sim.model import COMMANDS, DISPATCH, RELEASE, TIME, Connection, Violation
from tests.sim.oracle import Oracle
from tests.sim.overdue import cancel, give_back
from tests.sim.policies import draw_change
from tests.sim.profile import UNLIMITED, Profile
from tests.sim.server import READ_BYTES, Server
from tests.sim.zmtp_client import ZmtpClient
from tests.sim.zmtp_desks import DESKS
from tests.sim.zmtp_server import ZmtpFront
from tests.sim.zmtp_wire import ZItem

SECOND_NS = 1_000_000_000
START_MS = 1_700_000_000_000
"""Unix time at which worlds begin."""
LETTERS_MAX = 1000
"""Dead letters in one turn: where there are more, they multiply without end. Usual are some 100."""
Note = Callable[[str], None]


def _shown(item: Any) -> str:
    """What a peer is told."""
    if isinstance(item, ZItem):
        return f"{item.kind} {[frame[:40] for frame in item.frames]}"
    content = f" {len(item.body)} bytes {item.body[:8].hex()}" if item.header else ""
    return f"{item.channel}: {item.method}{content}"


class Storm(Exception):
    """Many queues send what they cannot keep to each other, and each letter becomes as many as there are queues that
    it has not been in. The broker would do that in all orders of these, as RabbitMQ does, and nothing else."""


def unix_ms(now_ns: int) -> int:
    """Unix time at this time of the virtual clock."""
    return START_MS + now_ns // 1_000_000


@dataclass(slots=True, eq=False)
class Party:
    """A client, its front in the broker, and what the oracle knows of the two."""

    client: Any
    """A Client, or a ZmtpClient."""
    front: Any
    """A Front, or a ZmtpFront."""
    model: Connection
    fed_ns: int
    frozen: bool = False
    held: bool = False
    """Since it was last read from the broker did not want to, and may have begun to count anew when it did again."""
    dropped: bool = False
    """The broker has closed its end of the socket."""


class Network:
    """Parties and the server between them. Nothing happens here by itself."""

    def __init__(self, seed: int, note: Note | None = None, checking: bool = True) -> None:
        self.rng = Random(seed)
        self.profile = Profile(self.rng)
        self.now_ns = SECOND_NS
        self.steps = 0
        self.note = note
        self.checking = checking
        self.store = MemoryStore()
        self.oracle: Oracle = (
            Oracles(self.store) if self.profile.access else Oracle(Durable(self.store))
        )
        self.oracle.consumer_timeout_ms = self.profile.consumer_timeout_ms
        self.oracle.cross, self.oracle.lags = self.profile.cross, self.profile.page_bytes > 0
        self.oracle.now_ms = unix_ms(self.now_ns)
        self.oracle.topology.producers_max = self.profile.producers_max
        self.oracle.bounded = self.profile.memory_bytes_max < UNLIMITED
        self.server = self._start_server()
        self.parties: list[Party] = []
        self._by_front: dict[Any, Party] = {}
        self._connected = 0
        self._tick_ns = self.now_ns
        self._version: list[tuple[str, int]] = []
        self._ended: list[Party] = []
        self._letters = 0

    def _start_server(self) -> Server:
        """A broker on the log as it is."""
        profile = self.profile
        server = Server(
            self.rng,
            unix_ms(self.now_ns),
            profile.limits(),
            self.store,
            profile.faults,
            profile.group_bytes_max,
            profile.depth,
            profile.whole_bytes_max,
            self._on_made,
            self._on_written,
            self.oracle.durable.update,
            self._on_event,
        )
        give_back = server.broker.overdue.give_back

        def observed(channel: Channel, whose: Consumer | Queue, age_ms: int) -> None:
            self._on_overdue(channel, whose)
            give_back(channel, whose, age_ms)
            cancel(self.oracle.in_vhost(channel.session.vhost) or self.oracle)

        server.broker.overdue.give_back = observed  # type: ignore[method-assign]
        return server

    def _connect(self) -> Party:
        self._connected += 1
        name = f"client{self._connected}"
        front = self.server.connect(name, self.now_ns)
        party = Party(Client(name, self.rng), front, Connection(name), self.now_ns)
        self.parties.append(party)
        self.oracle.connections.append(party.model)
        self._by_front[front] = party
        self._note(f"{name} connects")
        return party

    def connect_socket(self, client: ZmtpClient) -> Party:
        """A ZeroMQ peer connects."""
        front = self.server.connect_socket(
            client.name, self.now_ns, self._on_unmade, self._on_ended
        )
        model = Connection(client.name)
        model.desk = DESKS[client.socket_type](self.oracle, model, client.queue)
        model.desk.meant = front.meant
        party = Party(client, front, model, self.now_ns)
        self.parties.append(party)
        self.oracle.connections.append(model)
        self._by_front[front] = party
        self._note(
            f"{client.name} connects, a {client.socket_type} of {client.queue or 'no'} queue"
        )
        return party

    # -- bytes

    def feed(self, party: Party, n: int) -> None:
        """The broker reads up to `n` bytes."""
        if party.dropped or party.front.paused or party.front.waiting:
            return
        link = party.client.link
        n = min(n, READ_BYTES)
        if self.profile.cross and party.model.desk is None:
            n = link.before_others(n)
        data = link.take_up(n)
        if self.note:
            self._note(f"{party.client.name}: {len(data)} bytes arrive")
        self._receive(party, data)

    def wake(self) -> None:
        """Clients that wait for a message to be read may go on."""
        for front in self.server.take_woken():
            party = self._by_front.get(front)
            if party is not None and not party.dropped:
                self._note(f"{party.client.name} goes on")
                self._receive(party, b"")

    def _receive(self, party: Party, data: bytes) -> None:
        front, oracle = party.front, self.oracle
        party.fed_ns = self.now_ns
        oracle.phase = COMMANDS
        if data:
            self.server.receive(front, data, self.now_ns)
        else:
            self.server.go_on(front, self.now_ns)
        party.held = front.paused or front.blocked
        oracle.chosen = dict(self.server.take_sent())
        if party.model.desk is not None:
            party.model.desk.heard()
            self._apply_requests(party)
            return
        commands = party.client.link.take_done(len(front.tail))
        oracle.tokens.extend(self.server.tokens)
        self.server.tokens.clear()
        for number, method, message in commands:
            if self.note:
                self._note(f"    {number}: {message or method}")
            oracle.apply(party.model, number, method, message)
        oracle.chosen.clear()
        oracle.end_commands()
        if oracle.tokens:
            raise Violation("the broker has drawn a name that nobody asked for")

    def _apply_requests(self, party: Party) -> None:
        front, oracle = party.front, self.oracle
        for _, request, message in party.client.link.take_count(front.take_done()):
            if self.note:
                self._note(f"    {request} {message or ''}")
            party.model.desk.apply(request, message)
        oracle.chosen.clear()
        if front.closed != (party.model.state == "closed") and not party.model.desk.leaving:
            raise Violation(f"{party.model.name} is closed: {front.closed} {front.close_reason}")
        oracle.end_commands()

    def read(self, party: Party, n: int) -> None:
        """The client reads `n` bytes."""
        link = party.client.link
        for item in link.take_down(n):
            if self.note:
                self._note(f"{party.client.name} reads {_shown(item)}")
            party.client.on_item(item)
        if not party.model.writable and link.down_bytes <= self.profile.write_high_bytes // 4:
            self._set_writable(party, True)
        if party.dropped and not link.down_bytes:
            self._forget(party)

    def _set_writable(self, party: Party, writable: bool) -> None:
        if party.model.writable != writable:
            party.model.writable = writable
            self._note(f"{party.client.name}: writable {writable}")
            self.server.set_writable(party.front, writable)

    def _cut(self, party: Party) -> None:
        """The line breaks, wherever the bytes are."""
        self._note(f"{party.client.name} is cut off")
        if not party.dropped:
            self._drop(party)
        self._forget(party)

    def _kick(self, party: Party) -> None:
        """The server ends the connection, politely."""
        if party.model.state == "open" and not party.dropped:
            self._note(f"{party.client.name} is told to go")
            self.oracle.phase = COMMANDS
            self.server.shutdown(party.front, 320, "shutdown")
            if party.model.desk is not None:
                party.model.desk.leaving = True
                if party.front.closed:
                    self.oracle.end_connection(party.model)
                self.oracle.end_commands()
                return
            self.oracle.end_session(party.model)
            party.model.state = "closing"
            party.model.expect(0, m.ConnectionClose(320))
            self.oracle.end_commands()

    def _forget(self, party: Party) -> None:
        if party in self.parties:
            self.parties.remove(party)
        self._by_front.pop(party.front, None)

    def _drop(self, party: Party) -> None:
        """The broker's end of the socket is closed."""
        party.dropped = True
        self.oracle.phase = COMMANDS
        self.server.lose(party.front)
        self.oracle.end_connection(party.model)
        self.oracle.end_commands()

    # -- what the server tells

    def _on_event(self, vhost: str, event: Event) -> None:
        if self.note:
            self._note(f"    {vhost} {event}")
        if isinstance(event, Died):
            self._letters += 1
            if self._letters > LETTERS_MAX:
                raise Storm
        oracle = self.oracle.in_vhost(vhost)
        if oracle is not None:
            oracle.on_event(event)

    def _on_made(self, front: Any, items: list[Any]) -> None:
        model = self._by_front[front].model
        if self.note:
            for item in items:
                self._note(f"    to {model.name} {_shown(item)}")
        if model.desk is not None:
            model.desk.on_output(items)
        else:
            self.oracle.on_output(model, items)

    def _on_unmade(self, front: ZmtpFront, items: list[ZItem]) -> None:
        self._by_front[front].model.desk.unsay(items)

    def _on_ended(self, front: ZmtpFront) -> None:
        """A ZeroMQ peer's connection has ended; what of it the peer itself has caused is known already."""
        party = self._by_front[front]
        if self.oracle.phase != COMMANDS and party.model.state != "closed":
            silent_ns = self.now_ns - party.fed_ns
            party.model.desk.on_end(silent_ns, front.log_refused, front.close_reason)

    def _on_written(self, front: Any, items: list[Any]) -> None:
        party = self._by_front[front]
        if party.model.desk is not None:
            for item in items:
                party.model.desk.on_written(item)
        elif front.session is not None:
            for item in items:
                self.oracle.on_written(item.method)
        party.client.link.put_down(items)
        if front.closed:
            self._ended.append(party)
        if party.client.link.down_bytes > self.profile.write_high_bytes:
            self._set_writable(party, False)

    def _on_overdue(self, channel: Channel, whose: Consumer | Queue) -> None:
        party = next(each for each in self.parties if each.front.session is channel.session)
        tag, queue = ("", whose) if isinstance(whose, Queue) else (whose.tag, whose.queue)
        self._note(f"{party.client.name}: {tag or 'basic.get'} of {queue.name} is late")
        if self.oracle.phase != DISPATCH:
            raise Violation("a delivery is taken back outside of the end of a turn")
        oracle = self.oracle.home(party.model)
        give_back(oracle, party.model.channels[channel.number], tag, queue.name)

    def _refused(self) -> list[Connection]:
        """Who was waiting for a log that is lost, since the last call."""
        refused = [front for front in self.server.fronts if front.storage_refused]
        for front in refused:
            front.storage_refused = False
        return [self._by_front[front].model for front in refused]

    # -- operators

    def operate(self) -> None:
        """An operator changes policies, between the commands of clients."""
        vhost = self.rng.choice(list(self.server.broker.vhosts))
        oracle = self.oracle.in_vhost(vhost) or self.oracle
        change = draw_change(self.rng, oracle.topology.policies)
        self._note(f"operator: {change} in {vhost}")
        self.oracle.phase = COMMANDS
        policies, about = self.server.broker.policies, dict(change)
        operate = policies.put if about.pop("do") == "put policy" else policies.delete
        operate(vhost, **about)
        oracle.change_policies(change)
        self.oracle.end_commands()
        self.server.scheduled = True

    # -- time

    def pass_time(self, now_ns: int) -> None:
        """It is so late now; what is due in the broker will be done in its next turn."""
        self.now_ns = now_ns
        self.oracle.now_ms = self.server.broker.now_ms = unix_ms(now_ns)
        if self.server.is_due:
            self.server.scheduled = True

    def check_time(self) -> None:
        """Nothing is late of which the broker does not know."""
        server = self.server
        if not server.scheduled and not server.pager.busy and not server.is_due:
            self.oracle.check_idle()

    def end_turn(self) -> None:
        """The server's turn ends."""
        oracle, server = self.oracle, self.server
        self._note("turn")
        self._letters = 0
        for party in self.parties:
            party.held = party.held or party.front.paused or party.front.blocked
        oracle.phase = DISPATCH
        server.dispatch()
        oracle.end_dispatch(self._spent())
        oracle.phase = RELEASE
        server.release()
        oracle.end_release(server.all_durable or server.lost, server.lost, self._refused())
        self._drop_ended()
        self.wake()
        if not server.broker.unfinished and not server.pager.busy and not server.is_due:
            oracle.check_idle()
            oracle.check_served(
                {id(self._by_front[front].model) for front in server.fronts if front.gated}
            )
        for front in server.fronts:
            session = front.session
            if session is None or front.gated or not session.writable:
                continue
            if session.allowance <= 0:
                raise Violation(
                    f"{front.peer.name} may be sent nothing, and nothing will change that"
                )

    def _spent(self) -> set[int]:
        """Connections that were sent all that they may be in a turn."""
        fronts = [front for front in self.server.fronts if front.session is not None]
        spent = [front for front in fronts if front.session.allowance <= 0]
        return {id(self._by_front[front].model) for front in spent}

    def _step_log(self) -> None:
        self.oracle.phase = RELEASE
        self.server.step_log(self.now_ns)
        self.oracle.end_release(False, self.server.lost, self._refused())
        self._drop_ended()
        self.server.step_pager(self.now_ns)
        self.oracle.end_commands()
        self.wake()

    def _tick(self) -> None:
        self._tick_ns = self.now_ns
        for party in self.parties:
            if party.client.heartbeat_s and party.client.state == "open" and not party.frozen:
                party.client.link.send(HEARTBEAT_FRAME, None)
        self.oracle.phase = TIME
        self.server.tick(self.now_ns)
        for party in self.parties:
            if not party.dropped:
                self._check_alive(party)
        self.oracle.end_commands()

    def _check_alive(self, party: Party) -> None:
        """Whether the broker has given up on the client when it had to, and not before."""
        model, front = party.model, party.front
        silent_ns = self.now_ns - party.fed_ns
        if model.desk is not None:
            if front.waiting:
                model.desk.heard()
            model.desk.check_alive(silent_ns, front.closed)
            return
        if model.state == "open":
            due = 0 < 2 * model.heartbeat_s * SECOND_NS < silent_ns
            due = due and not (front.paused or front.waiting)
            if due != front.closed and not party.held:
                raise Violation(
                    f"{model.name} was silent for {silent_ns} ns, closed: {front.closed}"
                )
        if front.closed and model.state != "closed":
            self.oracle.end_connection(model)

    def _drop_ended(self) -> None:
        """The broker closes the sockets behind its last words."""
        ended, self._ended = self._ended, []
        for party in ended:
            if not party.dropped:
                if party.model.state != "closed":
                    raise Violation(
                        f"the broker closed {party.model.name}: {party.front.close_reason}"
                    )
                self._drop(party)
                if not party.client.link.down_bytes:
                    self._forget(party)

    # -- checks

    def check(self) -> None:
        """Everything that always holds."""
        if self.checking:
            hosts = self.server.broker.vhosts
            version = [(name, host.version) for name, host in hosts.items()]
            check(self.server.broker, version != self._version, self.profile.turn_bytes)
            self._version = version

    def _note(self, text: str) -> None:
        if self.note:
            self.note(f"[{self.steps}] {self.now_ns / SECOND_NS:.6f} {text}")
