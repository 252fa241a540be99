"""One virtual host: its exchanges, queues and bindings, and the rules for declaring and deleting them."""

from typing import TYPE_CHECKING, Any

from mansio.core.deduplication import make_window, wrong_argument
from mansio.core.equivalence import (
    EXCHANGE_ARGUMENTS,
    QUEUE_ARGUMENTS,
    STREAM_ARGUMENTS,
    check_arguments,
    check_field,
    describe,
    type_name,
)
from mansio.core.errors import (
    AccessRefused,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)
from mansio.core.exchange_types import check_exchange_type
from mansio.core.field_values import Arguments
from mansio.core.history import History, stores
from mansio.core.matching import NO_MEANS, Means
from mansio.core.names import (
    DEFAULT_EXCHANGE,
    PREDECLARED_EXCHANGES,
    check_not_default,
    check_not_reserved,
)
from mansio.core.policy import PolicySet
from mansio.core.queue import Queue
from mansio.core.routing import Binding, Exchange
from mansio.core.view import View

if TYPE_CHECKING:
    from mansio.core.session import Session
    from mansio.core.waiters import Line


class VHost:
    """Exchanges and queues by name. `version` rises with every change that may alter a route."""

    def __init__(self, name: str, means: Means = NO_MEANS) -> None:
        self.name = name
        self.means = means
        self.version = 0
        self.about: dict[str, Any] = {}
        """What operators say of it: description, tags."""
        self.limits: dict[str, int] = {}
        """MAX_CONNECTIONS, MAX_QUEUES; negative or not there: none."""
        self.sessions = 0  # that are open
        self.restoring = False  # nothing goes by itself then: each deletion has its own record
        self._dropped: list[Exchange] = []
        self.lines: dict[str, Line] = {}
        """Of those who wait for something to come into lists, by key; see `waiters`."""
        self.policies = PolicySet()
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, Exchange] = {
            name: Exchange(name, type, durable=True, internal=name == "amq.rabbitmq.trace")
            for name, type in PREDECLARED_EXCHANGES
        }

    # -- exchanges

    def exchange(self, name: str) -> Exchange:
        """The exchange of this name; NotFound."""
        found = self.exchanges.get(name)
        if found is None:
            raise NotFound(f"no {describe('exchange', name, self.name)}")
        return found

    def declare_exchange(
        self,
        name: str,
        type: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Arguments,
    ) -> Exchange | None:
        """A new exchange, or None if one that is the same exists."""
        check_exchange_type(type)
        found = self.exchanges.get(name)
        check_not_default(name)
        if found is None:
            check_not_reserved("exchange", name, self.name)
            found = Exchange(name, type, durable, auto_delete, internal, arguments, self.means)
            self._check_alternate(found)
            if "x-message-deduplication" in arguments:
                self._check_deduplication(found)
                found.dedup = make_window(arguments)
            found.alternate = self.policies.alternate(found)
            self.exchanges[name] = found
            self.version += 1
            return found
        resource = describe("exchange", name, self.name)
        check_field(resource, "type", _atom(type), _atom(found.type))
        check_field(resource, "durable", durable, found.durable)
        check_field(resource, "auto_delete", auto_delete, found.auto_delete)
        check_field(resource, "internal", internal, found.internal)
        check_arguments(resource, EXCHANGE_ARGUMENTS, arguments, found.arguments)
        return None

    def _check_alternate(self, exchange: Exchange) -> None:
        if "alternate-exchange" in exchange.arguments and not isinstance(exchange.alternate, str):
            resource = describe("exchange", exchange.name, self.name)
            kind = type_name(exchange.alternate)
            raise PreconditionFailed(
                f"invalid type '{kind}' for arg 'alternate-exchange' in {resource}"
            )

    def _check_deduplication(self, exchange: Exchange) -> None:
        wrong = wrong_argument(exchange.arguments)
        if wrong is not None:
            resource = describe("exchange", exchange.name, self.name)
            raise PreconditionFailed(f"invalid arg '{wrong[0]}' for {resource}: {wrong[1]}")

    def delete_exchange(self, name: str, if_unused: bool) -> Exchange | None:
        """Deletes it with its bindings; None if there is none of this name."""
        check_not_default(name)
        found = self.exchanges.get(name)
        if found is None:
            return None
        if if_unused and found.bindings:
            raise PreconditionFailed(f"{describe('exchange', name, self.name)} in use")
        self._drop_exchange(found)
        return found

    def _drop_exchange(self, exchange: Exchange) -> None:
        del self.exchanges[exchange.name]
        for binding in self.bindings_to(exchange):
            self.remove_binding(binding)
        for binding in exchange.bindings.values():
            if isinstance(binding.destination, Queue):
                del binding.destination.bindings[id(binding)]
        exchange.bindings.clear()
        self.version += 1

    # -- bindings

    def bindings_to(self, destination: Exchange | Queue) -> list[Binding]:
        """Every binding that leads to it."""
        if isinstance(destination, Queue):
            return list(destination.bindings.values())
        return [
            binding
            for exchange in self.exchanges.values()
            for binding in exchange.bindings.values()
            if binding.destination is destination
        ]

    def bind(
        self, source_name: str, destination: Exchange | Queue, key: str, arguments: Arguments
    ) -> Binding | None:
        """A new binding, or None if the same exists."""
        check_not_default(source_name)
        source = self.exchange(source_name)
        if isinstance(destination, Queue) and destination.fed:
            resource = describe("queue", destination.name, self.name)
            raise PreconditionFailed(f"{resource} gets its messages from a stream: cannot be bound")
        binding = Binding(source, destination, key, arguments)
        source.matcher.check_binding(binding)
        identity = binding.identity()
        if identity in source.bindings:
            return None
        source.bindings[identity] = binding
        source.matcher.add(binding)
        if isinstance(destination, Queue):
            destination.bindings[id(binding)] = binding
        self.version += 1
        return binding

    def unbind(
        self, source_name: str, destination: Exchange | Queue, key: str, arguments: Arguments
    ) -> Binding | None:
        """Removes a binding; None if there is no such."""
        check_not_default(source_name)
        source = self.exchanges.get(source_name)
        if source is None:
            return None
        found = source.bindings.get(Binding(source, destination, key, arguments).identity())
        if found is not None:
            self.remove_binding(found)
        return found

    def remove_binding(self, binding: Binding) -> None:
        """Removes it, and with it an auto-delete source that has no other."""
        source = binding.source
        del source.bindings[binding.identity()]
        source.matcher.remove(binding)
        if isinstance(binding.destination, Queue):
            binding.destination.bindings.pop(id(binding), None)
        self.version += 1
        if self.restoring or not source.auto_delete or source.bindings:
            return
        if source.name in self.exchanges:
            self._drop_exchange(source)
            self._dropped.append(source)

    def take_dropped(self) -> list[Exchange]:
        """Auto-delete exchanges that went with their last binding since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    # -- queues

    def queue(self, name: str, session: "Session") -> Queue:
        """The queue of this name, which `session` may use; NotFound, ResourceLocked."""
        found = self.queues.get(name)
        if found is None:
            raise NotFound(f"no {describe('queue', name, self.name)}")
        if found.owner is not None and found.owner is not session:
            raise self.locked(name)
        return found

    def locked(self, name: str) -> ResourceLocked:
        """The error for a queue of another connection."""
        return ResourceLocked(
            f"cannot obtain exclusive access to locked {describe('queue', name, self.name)}. It could be originally "
            "declared on another connection or the exclusive property value does not match that of the original "
            "declaration."
        )

    def check_same_queue(
        self,
        queue: Queue,
        owner: "Session | None",
        durable: bool,
        auto_delete: bool,
        arguments: Arguments,
    ) -> None:
        """Refuses a declaration that differs from the queue that exists."""
        if queue.owner is not owner:
            raise self.locked(queue.name)
        resource = describe("queue", queue.name, self.name)
        if owner is None:  # whether an exclusive queue is durable makes no difference
            check_field(resource, "durable", durable, queue.durable)
        check_field(resource, "auto_delete", auto_delete, queue.auto_delete)
        keys = STREAM_ARGUMENTS if queue.keeps else QUEUE_ARGUMENTS
        check_arguments(resource, keys, arguments, queue.arguments)

    def histories(self) -> list[History]:
        """Those of the exchanges that remember messages."""
        return [each.history for each in self.exchanges.values() if each.history is not None]

    def add_queue(self, queue: Queue) -> None:
        """Makes it known, also to the default exchange."""
        self.queues[queue.name] = queue
        if self.lines:
            queue.waiters = self.lines.get(queue.name)
        self.version += 1

    def remove_queue(self, queue: Queue) -> None:
        """Forgets it and its bindings."""
        del self.queues[queue.name]
        for binding in list(queue.bindings.values()):
            self.remove_binding(binding)
        self.version += 1

    # -- routing

    def publishable(self, name: str) -> Exchange:
        """The exchange to publish to; NotFound, AccessRefused for an internal one."""
        exchange = self.exchange(name)
        if exchange.internal:
            raise AccessRefused(
                f"cannot publish to internal {describe('exchange', name, self.name)}"
            )
        return exchange

    def route(
        self, start: Exchange, keys: list[str], view: View | None
    ) -> tuple[list[Queue], bool]:
        """The queues that a message with these keys reaches, each once, in order of discovery; histories come last.

        With `view` None the answer is for any message, and the flag tells whether its content would decide, or chance:
        then the queues are all that it may reach. An exchange that finds no destination hands on to its alternate
        exchange.
        """
        queues: dict[int, Queue] = {}
        histories: list[Queue] = []
        seen = {start.name}
        todo = [start]
        by_content = False
        for exchange in todo:  # grows while it is walked
            guess = view is None and exchange.matcher.by_content
            by_content = by_content or guess
            if exchange.history is not None and stores(view):
                histories.append(exchange.history)
            targets = self._targets(exchange, keys, view, guess)
            if (guess or not targets) and exchange.alternate in self.exchanges:
                targets.append(self.exchanges[exchange.alternate])
            for target in targets:
                if isinstance(target, Queue):
                    queues[target.id] = target
                elif target.name not in seen:
                    seen.add(target.name)
                    todo.append(target)
            feed = exchange.feed
            if feed is not None and feed.wants(keys[0]):
                queues[feed.id] = feed
        return [*queues.values(), *histories], by_content

    def _targets(
        self, exchange: Exchange, keys: list[str], view: View | None, guess: bool
    ) -> list[Exchange | Queue]:
        if (
            exchange.name == DEFAULT_EXCHANGE
        ):  # every queue is bound to it by its name (specification 3.1.3.1)
            found = [self.queues[key] for key in keys if key in self.queues]
            return [queue for queue in found if not queue.fed]
        if guess:
            return [binding.destination for binding in exchange.bindings.values()]
        return [binding.destination for binding in exchange.matcher.match(keys, view)]


def _atom(type: str) -> str:
    """RabbitMQ 3.10.8 shows types as Erlang prints atoms."""
    return f"'{type}'" if "-" in type else type
