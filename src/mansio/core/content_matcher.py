"""`x-content`: bindings that hold an expression over the message's properties, headers and JSON body.

The expression is the argument `x-match-expression`, or, where that is missing, the binding key. A message that it
cannot be evaluated for does not match. Language and limits are those of whoever compiles it: see `Means`.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from mansio.core.errors import PreconditionFailed
from mansio.core.field_values import Arguments, type_name
from mansio.core.matching import Matcher, Means
from mansio.core.view import Expression, View

if TYPE_CHECKING:
    from mansio.core.routing import Binding

EXPRESSION: Final = "x-match-expression"


class ContentMatcher(Matcher):
    """Bindings whose expression is true of the message. Equal expressions are evaluated once."""

    by_content = True

    def __init__(self, arguments: Arguments, means: Means) -> None:
        self._compile = means.compile
        self._by_text: dict[str, tuple[Expression, list[Binding]]] = {}

    def check_binding(self, binding: "Binding") -> None:
        text = _expression(binding)
        if text not in self._by_text:
            self._made(text)

    def _made(self, text: str) -> Expression:
        try:
            return self._compile(text)
        except ValueError as error:
            raise PreconditionFailed(f"invalid expression: {error}") from error

    def add(self, binding: "Binding") -> None:
        text = _expression(binding)
        if text not in self._by_text:
            self._by_text[text] = self._made(text), []
        self._by_text[text][1].append(binding)

    def remove(self, binding: "Binding") -> None:
        text = _expression(binding)
        bindings = self._by_text[text][1]
        bindings.remove(binding)
        if not bindings:
            del self._by_text[text]

    def known(self) -> "Iterable[Binding]":
        """All of them, whatever their expressions."""
        return [binding for _, bindings in self._by_text.values() for binding in bindings]

    def match(self, keys: Sequence[str], view: View | None) -> Iterable["Binding"]:
        if view is None:
            return ()
        return [
            binding
            for expression, bindings in self._by_text.values()
            if expression.matches(view)
            for binding in bindings
        ]


def _expression(binding: "Binding") -> str:
    text = binding.arguments.get(EXPRESSION, binding.key)
    if not isinstance(text, str):
        raise PreconditionFailed(f"invalid type '{type_name(text)}' for arg '{EXPRESSION}'")
    return text
