"""What a definitions file says of policies and operator policies. See `entries.py`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mansio.admin.entries import Needed, vhost_needed
from mansio.admin.fields import Fields
from mansio.core.broker import Broker
from mansio.core.policy_keys import WITHOUT_EFFECT

OPERATOR_POLICY: Final = "operator_policy"
"""As whose component RabbitMQ exports operator policies among parameters."""


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """A policy, or an operator policy."""

    vhost: str
    name: str
    pattern: str
    definition: dict[str, Any]
    priority: int
    apply_to: str
    operator: bool = False

    @classmethod
    def read(cls, fields: Fields) -> "PolicyEntry":
        """One of the section `policies`."""
        return cls._read(fields.name("vhost"), fields.name("name"), fields, operator=False)

    @classmethod
    def read_parameter(cls, fields: Fields) -> "PolicyEntry":
        """An operator policy, which is the value of a parameter."""
        value = Fields(fields.object("value"), f"{fields.where}: value")
        return cls._read(fields.name("vhost"), fields.name("name"), value, operator=True)

    @classmethod
    def _read(cls, vhost: str, name: str, fields: Fields, operator: bool) -> "PolicyEntry":
        return cls(
            vhost,
            name,
            fields.text("pattern"),
            fields.object("definition"),
            fields.number("priority", 0),
            fields.text("apply-to", "all"),
            operator,
        )

    @property
    def label(self) -> str:
        kind = "operator policy" if self.operator else "policy"
        return f"{kind} '{self.name}' in virtual host '{self.vhost}'"

    @property
    def idle(self) -> str:
        """Its keys that have no effect here, or nothing."""
        return ", ".join(sorted(WITHOUT_EFFECT.intersection(self.definition)))

    def needs(self) -> Iterator[Needed]:
        yield vhost_needed(self.vhost)

    def apply(self, broker: Broker) -> bool:
        known = broker.administration.vhost(self.vhost).policies.of_kind(self.operator)
        before = known.get(self.name)
        broker.policies.put(
            self.vhost,
            self.name,
            self.pattern,
            self.definition,
            self.priority,
            self.apply_to,
            self.operator,
        )
        return known.get(self.name) is not before


def entries_of(broker: Broker, vhost: str, operator: bool) -> list[PolicyEntry]:
    """All of a virtual host; NotFound."""
    return [
        PolicyEntry(
            vhost,
            each.name,
            each.pattern,
            dict(each.definition),
            each.priority,
            each.apply_to,
            operator,
        )
        for each in broker.policies.list(vhost, operator)
    ]
