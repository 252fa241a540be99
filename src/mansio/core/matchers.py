"""How the standard types of exchange choose among their bindings (specification 3.1.3; as in RabbitMQ 3.10.8)."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from mansio.core.errors import PreconditionFailed
from mansio.core.field_values import NO_HEADERS, Arguments, type_name
from mansio.core.matching import Matcher, Means
from mansio.core.view import View

if TYPE_CHECKING:
    from mansio.core.routing import Binding

HISTORY_LENGTH: Final = "x-recent-history-length"
HISTORY_LENGTH_DEFAULT: Final = 20


class DirectMatcher(Matcher):
    """Bindings whose key equals the routing key."""

    def __init__(self, arguments: Arguments, means: Means) -> None:
        self._by_key: dict[str, list[Binding]] = {}

    def add(self, binding: "Binding") -> None:
        self._by_key.setdefault(binding.key, []).append(binding)

    def remove(self, binding: "Binding") -> None:
        bindings = self._by_key[binding.key]
        bindings.remove(binding)
        if not bindings:
            del self._by_key[binding.key]

    def match(self, keys: Sequence[str], view: View | None) -> Iterable["Binding"]:
        if len(keys) == 1:
            return self._by_key.get(keys[0], ())
        return [binding for key in keys for binding in self._by_key.get(key, ())]


class FanoutMatcher(Matcher):
    """Every binding."""

    def __init__(self, arguments: Arguments, means: Means) -> None:
        self._bindings: dict[int, Binding] = {}

    def add(self, binding: "Binding") -> None:
        self._bindings[id(binding)] = binding

    def remove(self, binding: "Binding") -> None:
        del self._bindings[id(binding)]

    def match(self, keys: Sequence[str], view: View | None) -> Iterable["Binding"]:
        return self._bindings.values()


class HistoryMatcher(FanoutMatcher):
    """`x-recent-history`: every binding; what is remembered is the exchange's `history`."""

    by_content = True  # a header keeps a message out of it

    def __init__(self, arguments: Arguments, means: Means) -> None:
        super().__init__(arguments, means)
        length = arguments.get(HISTORY_LENGTH, HISTORY_LENGTH_DEFAULT)
        if not isinstance(length, int) or isinstance(length, bool) or length <= 0:
            shown = f'<<"{length}">>' if isinstance(length, str) else str(length).lower()
            raise PreconditionFailed(
                f"Invalid argument {shown}, '{HISTORY_LENGTH}' must be a positive integer"
            )


class _Node:
    """A word of topic patterns: what ends here and what follows."""

    __slots__ = ("ends", "next")

    def __init__(self) -> None:
        self.ends: list[Binding] = []
        self.next: dict[str, _Node] = {}


class TopicMatcher(Matcher):
    """Patterns of words between dots: `*` is one word, `#` any number of them, in a tree by words."""

    def __init__(self, arguments: Arguments, means: Means) -> None:
        self._root = _Node()

    def add(self, binding: "Binding") -> None:
        node = self._root
        for word in _words(binding.key):
            node = node.next.setdefault(word, _Node())
        node.ends.append(binding)

    def remove(self, binding: "Binding") -> None:
        path = [self._root]
        words = _words(binding.key)
        for word in words:
            path.append(path[-1].next[word])
        path[-1].ends.remove(binding)
        for i in range(len(words) - 1, -1, -1):
            node = path[i + 1]
            if not node.ends and not node.next:
                del path[i].next[words[i]]

    def match(self, keys: Sequence[str], view: View | None) -> Iterable["Binding"]:
        found: dict[int, Binding] = {}
        for key in keys:
            self._find(_words(key), found)
        return found.values()

    def _find(self, words: list[str], found: "dict[int, Binding]") -> None:
        seen: set[tuple[int, int]] = set()
        todo = [(self._root, 0)]
        while todo:
            node, i = todo.pop()
            place = (id(node), i)
            if place in seen:  # '#' meets itself again and again
                continue
            seen.add(place)
            if i == len(words):
                found.update((id(binding), binding) for binding in node.ends)
            elif exact := node.next.get(words[i]):
                todo.append((exact, i + 1))
            if i < len(words) and (star := node.next.get("*")):
                todo.append((star, i + 1))
            if many := node.next.get("#"):
                todo.extend((many, j) for j in range(i, len(words) + 1))


def _words(key: str) -> list[str]:
    """Words between dots; an empty key has none (RabbitMQ 3.10.8 observed)."""
    return key.split(".") if key else []


X_MATCHES = ("all", "any", "all-with-x", "any-with-x")
_WITH_X = X_MATCHES[2:]


class HeadersMatcher(Matcher):
    """Bindings whose arguments agree with the message's headers, all or any; `x-…` only count with `…-with-x`."""

    by_content = True

    def __init__(self, arguments: Arguments, means: Means) -> None:
        self._bindings: dict[int, tuple[Binding, bool, list[tuple[str, Any]]]] = {}

    def add(self, binding: "Binding") -> None:
        how = binding.arguments.get("x-match", "all")
        with_x = how in _WITH_X
        pattern = [
            (key, value)
            for key, value in binding.arguments.items()
            if key != "x-match" and (with_x or not key.startswith("x-"))
        ]
        self._bindings[id(binding)] = (binding, how in ("any", "any-with-x"), pattern)

    def remove(self, binding: "Binding") -> None:
        del self._bindings[id(binding)]

    def check_binding(self, binding: "Binding") -> None:
        how = binding.arguments.get("x-match", "all")
        if not isinstance(how, str):
            text = f"Invalid x-match field type {type_name(how)} (value {how}); expected longstr"
            raise PreconditionFailed(text)
        if how not in X_MATCHES:
            shown = f'"{how}"' if how else ""
            text = f"Invalid x-match field value <<{shown}>>"
            raise PreconditionFailed(f"{text}; expected all, any, all-with-x, or any-with-x")

    def match(self, keys: Sequence[str], view: View | None) -> Iterable["Binding"]:
        headers = view.headers if view is not None else NO_HEADERS
        for binding, any_is_enough, pattern in self._bindings.values():
            agree = (_agrees(name, value, headers) for name, value in pattern)
            if any(agree) if any_is_enough else all(agree):
                yield binding


def _agrees(name: str, value: Any, headers: Arguments) -> bool:
    if name not in headers:
        return False
    other = headers[name]
    if value is None:  # a void value asks for presence
        return True
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, Decimal) != isinstance(other, Decimal):
        return False
    return bool(
        _text(value) == _text(other)
    )  # numbers by value, whatever their type (RabbitMQ 3.10.8 observed)


def _text(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
