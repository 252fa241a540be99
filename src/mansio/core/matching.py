"""What every type of exchange has in common: how it chooses among its bindings, and what it needs for that."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mansio.core.draws import Draws
from mansio.core.view import Compile, View, compile_nothing

if TYPE_CHECKING:
    from mansio.core.routing import Binding


class Means(NamedTuple):
    """What exchanges may need beside their arguments, the same for all of a broker."""

    draws: Draws
    compile: Compile


NO_MEANS = Means(Draws(0), compile_nothing)
"""For a broker that routes no messages, or by their routing keys alone."""


class Matcher:
    """How one exchange chooses among its bindings.

    Types are made with (arguments of the exchange, means) and raise PreconditionFailed for wrong arguments.
    """

    by_content = False
    """Messages with the same routing key may go different ways, so each is routed by itself."""

    def check_binding(self, binding: "Binding") -> None:
        """PreconditionFailed for one that makes no sense with this type of exchange."""

    def add(self, binding: "Binding") -> None:
        """A new binding, which has been checked."""
        raise NotImplementedError

    def remove(self, binding: "Binding") -> None:
        """One that was added is gone."""
        raise NotImplementedError

    def match(self, keys: Sequence[str], view: View | None) -> Iterable["Binding"]:
        """The bindings that let a message with these routing keys, at least one, through; some maybe twice.

        `view`: the message; None only where `by_content` is False.
        """
        raise NotImplementedError
