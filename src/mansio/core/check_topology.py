"""What always holds between the exchanges, bindings and queues of a virtual host. See `check.py`."""

from typing import TYPE_CHECKING, Any

from mansio.core.choosers import Chooser, ConsistentHashChooser
from mansio.core.content_matcher import ContentMatcher
from mansio.core.names import DEFAULT_EXCHANGE
from mansio.core.routing import Binding, Exchange
from mansio.core.view import Bare

if TYPE_CHECKING:
    from mansio.core.topology import VHost


class InvariantBroken(AssertionError):
    """Structures of the Broker disagree: a bug of ours, whatever clients did. The text says where."""


def check_vhost(host: "VHost") -> None:
    """Bindings are known at both ends and found by the matcher, and by nothing else."""
    for name, exchange in host.exchanges.items():
        if exchange.name != name:
            raise InvariantBroken(f"exchange {exchange.name} is registered as {name}")
        if exchange.bindings:
            if name == DEFAULT_EXCHANGE:
                raise InvariantBroken("the default exchange has a binding")
            for identity, binding in exchange.bindings.items():
                _check_binding(host, exchange, identity, binding)
    for name, queue in host.queues.items():
        if queue.name != name or queue.vhost != host.name:
            raise InvariantBroken(f"queue {queue.name} is registered as {name}")
        for key, binding in queue.bindings.items():
            if key != id(binding) or binding.destination is not queue:
                raise InvariantBroken(f"queue {name} holds a binding of another")
            if binding.source.bindings.get(binding.identity()) is not binding:
                raise InvariantBroken(f"queue {name}: {binding.source.name} lost a binding to it")


def _check_binding(host: "VHost", exchange: Exchange, identity: Any, binding: Binding) -> None:
    target = binding.destination
    what = f"binding of {exchange.name} to {target.name} with key '{binding.key}'"
    if binding.source is not exchange or binding.identity() != identity:
        raise InvariantBroken(f"{what} is registered wrongly")
    if isinstance(target, Exchange):
        known = host.exchanges.get(target.name) is target
    else:
        known = host.queues.get(target.name) is target and id(binding) in target.bindings
    if not known:
        raise InvariantBroken(f"{what}: the destination does not know it")
    found = _found(binding)
    if all(each is not binding for each in found) and _may_match(binding):
        raise InvariantBroken(f"{what} is not found by the matcher")
    for each in found:
        if exchange.bindings.get(each.identity()) is not each:
            raise InvariantBroken(f"{what}: the matcher finds one that is gone")


def _found(binding: Binding) -> list[Binding]:
    """What the matcher finds for a message that this binding lets through, or may let through."""
    matcher = binding.source.matcher
    if isinstance(matcher, Chooser | ConsistentHashChooser | ContentMatcher):
        return list(matcher.known())
    return list(matcher.match([_key_for(binding)], _Headers(binding)))


def _key_for(binding: Binding) -> str:
    """A routing key that the binding must match."""
    if binding.source.type != "topic":
        return binding.key
    words = [word for word in binding.key.split(".") if word != "#"]
    return ".".join(["word" if word == "*" else word for word in words])


def _may_match(binding: Binding) -> bool:
    """Whether anything can match it: 'any' of no headers cannot."""
    if binding.source.type != "headers" or binding.arguments.get("x-match") in (None, "all"):
        return True
    return any(not key.startswith("x-") for key in binding.arguments)


class _Headers(Bare):
    """A message with headers that the binding must match."""

    def __init__(self, binding: Binding) -> None:
        self.headers = {
            key: 0 if value is None else value for key, value in binding.arguments.items()
        }
