"""Types of exchange that send each message one way: by chance, or by a hash of it.

`x-consistent-hash` gives every destination a score for each value, and the best one wins (weighted rendezvous hashing:
Thaler and Ravishankar 1998, Schindelhauer and Schomaker 2005). The score depends on the value, the destination and its
weight alone. So each destination gets its weight's share. When one comes, goes or changes its weight, values move to
it or from it, as many as it takes, and never between others; restarts and the order of bindings change nothing.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log
from typing import TYPE_CHECKING, Any, Final

from mansio.core.draws import mix
from mansio.core.errors import PreconditionFailed
from mansio.core.field_values import Arguments, type_name
from mansio.core.matching import Matcher, Means
from mansio.core.view import View

if TYPE_CHECKING:
    from mansio.core.routing import Binding

HASH_PROPERTIES: Final = ("correlation_id", "message_id", "timestamp")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")


class Chooser(Matcher):
    """One of all bindings, whatever their keys; none where there are none."""

    def __init__(self, arguments: Arguments, means: Means) -> None:
        self.bindings: list[Binding] = []
        self._draws = means.draws

    def add(self, binding: "Binding") -> None:
        self.bindings.append(binding)

    def remove(self, binding: "Binding") -> None:
        self.bindings.remove(binding)

    def known(self) -> "Iterable[Binding]":
        """All that it chooses from."""
        return self.bindings

    def match(self, keys: Sequence[str], view: View | None) -> Iterable["Binding"]:
        bindings = self.bindings
        return (bindings[self._choose(keys, len(bindings))],) if bindings else ()

    def _choose(self, keys: Sequence[str], count: int) -> int:
        raise NotImplementedError


class RandomChooser(Chooser):
    """`x-random`: each binding is as likely as any other."""

    by_content = True

    def _choose(self, keys: Sequence[str], count: int) -> int:
        return self._draws.below(count)


class LocalRandomChooser(RandomChooser):
    """`x-local-random`: one of the queues of this node, which is the only one. Keys are empty (RabbitMQ 4.0)."""

    def check_binding(self, binding: "Binding") -> None:
        if binding.key:
            raise PreconditionFailed(f"Non empty binding '{binding.key}' key not permitted")
        if binding.to_exchange:
            raise PreconditionFailed("Destination not found")


class ModulusChooser(Chooser):
    """`x-modulus-hash`: by a hash of the routing keys, modulo the number of bindings."""

    def _choose(self, keys: Sequence[str], count: int) -> int:
        return _hash("\0".join(keys)) % count


class ConsistentHashChooser(Matcher):
    """`x-consistent-hash`: the binding key is the destination's weight; what is hashed is the routing key, or what the
    argument `hash-header` or `hash-property` names. Several bindings of one destination add up."""

    def __init__(self, arguments: Arguments, means: Means) -> None:
        header, self._property = _text(arguments, "hash-header"), _text(arguments, "hash-property")
        if header is not None and self._property is not None:
            raise PreconditionFailed("hash-header and hash-property are mutually exclusive")
        if self._property is not None and self._property not in HASH_PROPERTIES:
            raise PreconditionFailed(f"Unsupported property: {self._property}")
        self._header = header
        self.by_content = header is not None or self._property is not None
        self.bindings: dict[int, Binding] = {}
        self._candidates: list[tuple[int, int, Binding]] = []  # seed, weight, one of the bindings

    def check_binding(self, binding: "Binding") -> None:
        if _INTEGER.fullmatch(binding.key) is None:
            shown = f'"{binding.key}"' if binding.key else ""
            raise PreconditionFailed(f"The binding key must be an integer: <<{shown}>>")
        if int(binding.key) < 1:
            raise PreconditionFailed("The binding key must be greater than 0")

    def add(self, binding: "Binding") -> None:
        self.bindings[id(binding)] = binding
        self._weigh()

    def remove(self, binding: "Binding") -> None:
        del self.bindings[id(binding)]
        self._weigh()

    def known(self) -> "Iterable[Binding]":
        """All that it chooses from."""
        return self.bindings.values()

    def _weigh(self) -> None:
        found: dict[tuple[bool, str], tuple[int, int, Binding]] = {}
        for binding in self.bindings.values():
            name = binding.destination.name
            place = (binding.to_exchange, name)
            _, weight, _ = found.get(place, (0, 0, binding))
            seed = _hash(f"{'exchange' if binding.to_exchange else 'queue'} {name}")
            found[place] = (seed, weight + int(binding.key), binding)
        self._candidates = list(found.values())

    def match(self, keys: Sequence[str], view: View | None) -> Iterable["Binding"]:
        candidates = self._candidates
        if len(candidates) < 2:
            return [binding for _, _, binding in candidates]
        value = _hash(self._value(keys, view))
        best, chosen = float("inf"), candidates[0][2]
        for seed, weight, binding in candidates:
            score = -log((mix(value ^ seed) + 1) / 18446744073709551616) / weight
            if score < best:
                best, chosen = score, binding
        return (chosen,)

    def _value(self, keys: Sequence[str], view: View | None) -> Any:
        """What is hashed; None where the message has no such header or property: all of these go one way."""
        if view is not None:
            if self._header is not None:
                return view.headers.get(self._header)
            if self._property is not None:
                return view.properties.get(self._property)
        return keys[0]


def _hash(value: Any) -> int:
    """64 bits that depend on nothing but the value, in any process and for ever."""
    data = value if isinstance(value, str) else f"{type_name(value)} {value}"
    return int.from_bytes(
        blake2b(data.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big"
    )


def _text(arguments: Arguments, name: str) -> str | None:
    value = arguments.get(name)
    if name in arguments and not isinstance(value, str):
        raise PreconditionFailed(f"invalid type '{type_name(value)}' for arg '{name}'")
    return value
