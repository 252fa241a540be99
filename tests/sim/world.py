"""One world: a broker, its log, and clients at the ends of bad lines. Everything that happens follows from one seed.

step:  the log goes on ─► a client does something ─► bytes arrive ─► maybe the turn ends ─► everything is checked
"""

from __future__ import annotations

from mansio.codec import amqp_methods as m
from tests.log.faulty import NO_FAULTS
from tests.sim.access_operator import Operator
from tests.sim.access_oracle import Oracles
from tests.sim.client import Client, ClientChannel
from tests.sim.model import Violation
from tests.sim.network import SECOND_NS, START_MS, Network, Note, Party, unix_ms
from tests.sim.operations import Operations
from tests.sim.producing import check_produced
from tests.sim.zmtp_operations import ZmtpOperations

SLEEPS_MS = (1, 2, 20, 100, 300, 900, 5000, 70_000)


class World(Network):
    """Runs by `step`, ends by `finish`."""

    def __init__(self, seed: int, note: Note | None = None, checking: bool = True) -> None:
        super().__init__(seed, note, checking)
        self.operations = Operations(self, self.rng, self.profile)
        self.sockets = ZmtpOperations(self)
        self.operator: Operator | None = None
        if isinstance(self.oracle, Oracles):
            self.operator = Operator(self, self.rng, self.oracle)
            self.profile.clients += 2

    # -- steps

    def step(self) -> None:
        """One operation, and some of what follows from it."""
        rng, profile = self.rng, self.profile
        self.steps += 1
        self.pass_time(self.now_ns + rng.randint(0, profile.step_ns))
        self._step_log()
        if self.now_ns - self._tick_ns >= SECOND_NS:
            self._tick()
        if self.profile.fenced and rng.random() < 0.005 and not self.oracle.fenced:
            self._note("another owner takes the log")
            self.oracle.fenced = True
            self.store.open(self.store.bounds().epoch + 1, 0)
        if rng.random() < self.profile.crashes:
            self._crash()
        if rng.random() < profile.policing:
            self.operate()
        if self.operator is not None:
            self.operator.step()
        self._act()
        for _ in range(rng.choice((0, 1, 1, 2))):
            if self.parties:
                self._pump(rng.choice(self.parties))
        if self.server.scheduled and rng.random() < profile.turn:
            self.end_turn()
        self.check_time()
        self.check()

    def _crash(self) -> None:
        """The broker dies, and what was on its way to the log has arrived or not; another one takes over."""
        self._note("the broker crashes")
        if self.operator is not None:
            self.operator.crashed(self.server.group.durable)
        self.server.committer.log.crash()
        self.parties.clear()
        self._by_front.clear()
        self._ended.clear()
        digest = self.server.digest
        self.oracle.restart()
        self.server = self._start_server()
        self.server.digest = digest
        self._version = []
        if self.operator is not None:
            self.operator.restarted()
        self.check()

    def _act(self) -> None:
        rng, taste = self.rng, self.profile.taste
        if len(self.parties) < self.profile.clients and rng.random() < 0.3:
            if self.profile.sockets and rng.random() < self.profile.sockets:
                self._begin(self._connect_peer())
            else:
                party = self._connect()
                if self.operator is not None:
                    self.operator.introduce(party.client)
                self._begin(party)
        if not self.parties:
            return
        if rng.random() < 0.03 * taste["sleep"]:
            self._sleep(rng.choice(SLEEPS_MS))
            if not self.parties:
                return
        party = rng.choice(self.parties)
        draw = rng.random()
        if draw < 0.004 * taste["cut"]:
            self._cut(party)
        elif draw < 0.006 * taste["cut"]:
            self.pass_time(self.now_ns + rng.randint(1, 30) * SECOND_NS)
        elif draw < 0.007 * taste["kick"]:
            self._kick(party)
        elif draw < 0.009 * taste["freeze"]:
            party.frozen = not party.frozen
        elif not party.frozen:
            if party.model.desk is not None:
                name = self.sockets.step(party.client)
            else:
                name = self._operations_of(party).step(party.client)
            if self.note and name:
                self.note(f"{party.client.name}: {name}")
        if not party.frozen and rng.random() < 0.9:
            self._pump(party)

    def _sleep(self, ms: int) -> None:
        """Time passes; what is due in the meantime is done, or found to be late."""
        until_ns = self.now_ns + ms * 1_000_000
        next_ms = self.server.broker.deadlines.next_ms
        while self.rng.random() < 0.8 and next_ms <= unix_ms(until_ns):
            self.pass_time(max(self.now_ns, (next_ms - START_MS) * 1_000_000))
            if self.server.scheduled:
                self.end_turn()
            next_ms = self.server.broker.deadlines.next_ms
        self.pass_time(until_ns)

    def _begin(self, party: Party) -> None:
        """Most clients get through the handshake at once."""
        if self.rng.random() < 0.9:
            while party.client.state == "starting" and not party.dropped:
                self.feed(party, len(party.client.link.up))
                self.end_turn()
                self.read(party, party.client.link.down_bytes)
            if party.client.state == "open" and party.model.desk is None:
                self._operations_of(party).begin(party.client)

    def _connect_peer(self) -> Party:
        self._connected += 1
        return self.connect_socket(self.sockets.connect(f"peer{self._connected}"))

    def _operations_of(self, party: Party) -> Operations:
        """In the virtual host of a client."""
        return self.operations if self.operator is None else self.operator.operations(party.model)

    def end_turn(self) -> None:
        super().end_turn()
        if self.operator is not None:
            self.operator.sealed(self.server._ticket)

    def _pump(self, party: Party) -> None:
        """Some bytes arrive, at either end."""
        if party.frozen:
            return
        rng, link = self.rng, party.client.link
        if link.up:
            n = len(link.up)
            if rng.random() < self.profile.pieces:
                n = rng.randint(1, n)
            self.feed(party, n)
        if link.down_bytes and rng.random() < self.profile.reads:
            n = link.down_bytes
            if rng.random() < 0.2:
                n = rng.randint(1, n)
            self.read(party, n)

    # -- the end

    def finish(self) -> None:
        """All faults end. What is where it should be is compared, everything is consumed, and nothing must be left."""
        log = self.server.committer.log
        log._faults, log._full_until_ns = NO_FAULTS, -1
        for party in self.parties:
            party.frozen = False
        self._rest()
        self._check_log()
        if self.operator is not None:
            self.operator.make_peace()
        for party in list(self.parties):
            if party.client.state == "open" and not (party.front.paused or party.front.waiting):
                party.client.close()
            elif not party.dropped:
                self._cut(party)
        self._rest()
        for party in list(self.parties):
            self._cut(party)
        self._rest()
        self._collect()
        self._check_log()
        self._check_empty()
        check_produced(self.oracle.durable, self.operations.producers)

    def _rest(self) -> None:
        """Lets everything that is under way arrive."""
        for _ in range(10_000):
            moved = False
            for party in list(self.parties):
                front = party.front
                if party.client.link.up and not (front.paused or front.waiting or party.dropped):
                    self.feed(party, len(party.client.link.up))
                    moved = True
                if party.client.link.down_bytes:
                    self.read(party, party.client.link.down_bytes)
                    moved = True
            next_ns = self.server.committer.next_ns()
            if next_ns is not None or not (self.server.all_durable or self.server.lost):
                self.pass_time(max(self.now_ns, next_ns or 0))
                self._step_log()
                moved = True
            if self.server.pager.busy:
                self.pass_time(max(self.now_ns, self.server.pager.next_ns()))
                self._step_log()
                moved = True
            if self.server.scheduled or self.server.is_due:
                self.end_turn()
                moved = True
            self.check()
            if not moved:
                return
        raise Violation("the world does not come to rest")

    def _collect(self) -> None:
        """One client makes exchanges forget, another takes everything that is left."""
        client, channel = self._join()
        for exchange in self.oracle.topology.exchanges.values():
            if exchange.history is not None:
                client.send(channel.number, m.ExchangeDelete(exchange.name))
        self._rest()
        client, channel = self._join()
        streams = self.operations.streams()
        if streams:
            client.send(channel.number, m.BasicQos(0, 50, False))
        for name in self.oracle.topology.queues:
            method = m.BasicConsume(name, f"all of {name}")
            method.arguments["x-consumer-timeout"] = 0
            if name in streams:
                method.arguments["x-stream-offset"] = "first"
            client.consume(channel, method)
        self._rest()
        while channel.unacked or self._next_ms():
            if channel.unacked:
                client.settle(channel, max(channel.unacked), "ack", True)
            else:
                self.pass_time(max(self.now_ns, (self._next_ms() - START_MS) * 1_000_000))
            self._rest()
        for name in streams:
            client.send(channel.number, m.QueueDelete(name))
        self._rest()

    def _next_ms(self) -> int:
        """When the next message is due that is deferred or delayed; 0: there is none."""
        oracle = self.oracle
        times = [each.last_ms for queue in oracle.topology.all_queues() for each in queue.deferred]
        times += [held.due_ms for held in oracle.store.held.values()]
        return min(times, default=0)

    def _join(self) -> tuple[Client, ClientChannel]:
        """A new client with a channel."""
        party = self._connect()
        self._rest()
        channel = party.client.open_channel()
        assert channel is not None
        return party.client, channel

    def _check_log(self) -> None:
        if not self.oracle.fenced:
            self.oracle.check_log()

    def _check_empty(self) -> None:
        for queue in self.oracle.topology.queues.values():
            if queue.ready or queue.in_flight or queue.deferred:
                raise Violation(f"queue {queue.name} is left with {queue.ready}, {queue.in_flight}")
        broker = self.server.broker
        if self.oracle.store.held or broker.delays("/").count:
            raise Violation(f"{list(self.oracle.store.held.values())} are still held back")
        for each in broker.vhosts["/"].queues.values():
            deferred = each.deferred is not None and each.deferred.count
            if each.ready_count or each.in_flight or deferred:
                raise Violation(f"the broker's queue {each.name} is not empty")
        if broker.receipts.owed:
            raise Violation(f"{broker.receipts.owed} receipts are still owed")
        if broker.memory_bytes or broker.blocked or broker.waiting:
            raise Violation(f"{broker.memory_bytes} bytes are held, waiting: {broker.waiting}")
