"""What a definitions file says of exchanges, queues and bindings. See `entries.py`.

An exchange or queue that exists already must be the same; RabbitMQ 3.10.8 leaves it as it is and says nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mansio.admin.entries import Needed, vhost_needed
from mansio.admin.fields import Fields
from mansio.admin.operator import operator
from mansio.admin.tables import read_table
from mansio.codec.amqp_values import Table
from mansio.core.broker import Broker
from mansio.core.errors import BadValue
from mansio.core.group import SOURCE
from mansio.core.names import DEFAULT_EXCHANGE, RESERVED_PREFIX
from mansio.core.routing import Binding


@dataclass(frozen=True, slots=True)
class ExchangeEntry:
    """An exchange."""

    vhost: str
    name: str
    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Table = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> "ExchangeEntry":
        return cls(
            fields.name("vhost"),
            fields.name("name"),
            fields.text("type"),
            fields.flag("durable", True),
            fields.flag("auto_delete", False),
            fields.flag("internal", False),
            _table(fields),
        )

    @property
    def label(self) -> str:
        return f"exchange '{self.name}' in virtual host '{self.vhost}'"

    def needs(self) -> Iterator[Needed]:
        yield vhost_needed(self.vhost)
        yield Needed("exchange", self.vhost, self.name)

    def apply(self, broker: Broker) -> bool:
        exchanges = broker.administration.vhost(self.vhost).exchanges
        before = len(exchanges)
        broker.definitions.declare_exchange(
            operator(self.vhost),
            self.name,
            self.type,
            self.durable,
            self.auto_delete,
            self.internal,
            self.arguments,
        )
        return len(exchanges) > before


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A queue."""

    vhost: str
    name: str
    durable: bool
    auto_delete: bool
    arguments: Table = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> "QueueEntry":
        name = fields.name("name")
        if not name:
            raise BadValue(f"{fields.where}: 'name' must not be empty")
        return cls(
            fields.name("vhost"),
            name,
            fields.flag("durable", True),
            fields.flag("auto_delete", False),
            _table(fields),
        )

    @property
    def label(self) -> str:
        return f"queue '{self.name}' in virtual host '{self.vhost}'"

    @property
    def fed(self) -> bool:
        """Whether a stream feeds it, which must be there before."""
        return SOURCE in self.arguments

    def needs(self) -> Iterator[Needed]:
        yield vhost_needed(self.vhost)
        yield Needed("queue", self.vhost, self.name)
        source = self.arguments.get(SOURCE)
        if isinstance(source, str):
            yield Needed("queue", self.vhost, source)

    def apply(self, broker: Broker) -> bool:
        queues = broker.administration.vhost(self.vhost).queues
        before = len(queues)
        broker.definitions.declare_queue(
            operator(self.vhost),
            self.name,
            self.durable,
            False,
            self.auto_delete,
            self.arguments,
            generated=self.name.startswith(RESERVED_PREFIX),
        )
        return len(queues) > before


@dataclass(frozen=True, slots=True)
class BindingEntry:
    """A binding; `to` is queue or exchange."""

    vhost: str
    source: str
    to: str
    destination: str
    key: str
    arguments: Table = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> "BindingEntry":
        to = fields.text("destination_type", "queue")
        if to not in ("queue", "exchange"):
            raise fields.fault("destination_type", "queue or exchange")
        return cls(
            fields.name("vhost"),
            fields.name("source"),
            to,
            fields.name("destination"),
            fields.name("routing_key"),
            _table(fields),
        )

    @property
    def label(self) -> str:
        return (
            f"binding from exchange '{self.source}' to {self.to} '{self.destination}' with key "
            f"'{self.key}' in virtual host '{self.vhost}'"
        )

    @property
    def implied(self) -> bool:
        """Whether it is one of the default exchange's, which every queue has."""
        return self.source == DEFAULT_EXCHANGE and self.key == self.destination

    def missing(self, broker: Broker) -> str | None:
        """Which end of it there is not; NotFound for the virtual host."""
        host = broker.administration.vhost(self.vhost)
        if self.source not in host.exchanges:
            return f"exchange '{self.source}'"
        known = host.queues if self.to == "queue" else host.exchanges
        return None if self.destination in known else f"{self.to} '{self.destination}'"

    def must_wait(self, broker: Broker) -> bool:
        """Whether it is new, and its source remembers messages that have to be read first; they are from now on."""
        host = broker.vhosts.get(self.vhost)
        source = None if host is None else host.exchanges.get(self.source)
        if host is None or source is None or source.history is None:
            return False
        known = host.queues if self.to == "queue" else host.exchanges
        target = known.get(self.destination)
        if target is not None:
            binding = Binding(source, target, self.key, self.arguments)
            if binding.identity() in source.bindings:
                return False
        return broker.paging.loading.must_wait_for_all(source.history, object())

    def needs(self) -> Iterator[Needed]:
        yield vhost_needed(self.vhost)
        yield Needed("exchange", self.vhost, self.source)
        yield Needed(self.to, self.vhost, self.destination)

    def apply(self, broker: Broker) -> bool:
        host = broker.administration.vhost(self.vhost)
        if self.implied:
            return False
        before = host.version
        definitions = broker.definitions
        bind = definitions.bind_queue if self.to == "queue" else definitions.bind_exchange
        bind(operator(self.vhost), self.destination, self.source, self.key, self.arguments)
        return host.version > before


def _table(fields: Fields) -> Table:
    try:
        return read_table(fields.values)
    except BadValue as error:
        raise BadValue(f"{fields.where}: {error.text}") from None
