"""A definitions file, read: entries in the order in which they are applied, and what of it means nothing here.

Formats: what `rabbitmqctl export_definitions` and the HTTP API of RabbitMQ 3.10.8 write, and what Mansio does.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mansio.admin.entries import (
    Entry,
    PermissionEntry,
    TopicPermissionEntry,
    UserEntry,
    VHostEntry,
    VHostLimits,
)
from mansio.admin.fields import Fields, section, shown
from mansio.admin.policy_entries import OPERATOR_POLICY, PolicyEntry
from mansio.admin.topology_entries import BindingEntry, ExchangeEntry, QueueEntry
from mansio.core.errors import BadValue
from mansio.core.exchange_types import EXCHANGE_TYPES

VHOST_LIMITS: Final = "vhost-limits"
"""The component of parameters that are limits of a virtual host."""

_SECTIONS: Final = frozenset(
    (
        "users",
        "vhosts",
        "permissions",
        "topic_permissions",
        "parameters",
        "global_parameters",
        "policies",
        "exchanges",
        "queues",
        "bindings",
    )
)
_OF_ALL: Final = ("users", "vhosts", "permissions", "topic_permissions", "global_parameters")
"""What a file of one virtual host does not have."""
_ABOUT: Final = frozenset(
    (
        "rabbit_version",
        "rabbitmq_version",
        "product_name",
        "product_version",
        "mansio_version",
        "rabbitmq_definition_format",
        "original_cluster_name",
        "explanation",
    )
)
"""What a file says of where it comes from."""


@dataclass(slots=True)
class Plan:
    """`entries` by section; `skipped`: what means nothing here, a line for each."""

    vhost: str | None = None
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    users: frozenset[str] | None = None
    vhosts: frozenset[str] | None = None
    """Names; None: the document does not say."""

    def all(self) -> Iterable[Entry]:
        """Every entry, in order."""
        for entries in self.entries.values():
            yield from entries


def read_plan(document: Any, vhost: str | None = None) -> Plan:
    """The plan that a definitions file is; BadValue says which part of it cannot be used, and why.

    `vhost`: where to everything goes, of a file that RabbitMQ has exported of one virtual host only.
    """
    if not isinstance(document, dict):
        raise BadValue("a definitions file must be a JSON object")
    if vhost is not None and not document.keys().isdisjoint(_OF_ALL):
        raise BadValue("the file is not of one virtual host: it names users or virtual hosts")
    plan = Plan(vhost=vhost)
    users = _read(document, "users", UserEntry.read)
    vhosts = _read(document, "vhosts", VHostEntry.read)
    if "users" in document:
        plan.users = frozenset(each.name for each in users)
    if "vhosts" in document:
        plan.vhosts = frozenset(each.name for each in vhosts)
    limits, policies = _parameters(document, plan)
    limits = [*_limits_of_vhosts(document), *limits]
    policies = [*_read(document, "policies", PolicyEntry.read, vhost), *policies]
    plan.skipped += [
        f"what {each.label} says of {idle}" for each in policies if (idle := each.idle)
    ]
    exchanges = _exchanges(document, plan)
    queues = _read(document, "queues", QueueEntry.read, vhost)
    plan.entries = {
        "users": [*users],
        "vhosts": [*vhosts],
        "permissions": [*_read(document, "permissions", PermissionEntry.read)],
        "topic permissions": [*_read(document, "topic_permissions", TopicPermissionEntry.read)],
        "limits": [*{each.vhost: each for each in limits}.values()],
        "policies": [*policies],
        "exchanges": [*exchanges],
        "queues": [*sorted(queues, key=lambda each: each.fed)],  # streams before what they feed
        "bindings": [*_read(document, "bindings", BindingEntry.read, vhost)],
    }
    _skip_others(document, plan)
    return plan


def _read(
    document: Mapping[str, Any], key: str, read: Callable[[Fields], Any], vhost: str | None = None
) -> list[Any]:
    return [read(fields) for fields in section(document, key, vhost)]


def _limits_of_vhosts(document: Mapping[str, Any]) -> list[VHostLimits]:
    """RabbitMQ 3.10.8 says limits with the virtual host too, where there are any."""
    return [
        VHostLimits(fields.name("name"), limits)
        for fields in section(document, "vhosts")
        if (limits := fields.object("limits", {}))
    ]


def _parameters(
    document: Mapping[str, Any], plan: Plan
) -> tuple[list[VHostLimits], list[PolicyEntry]]:
    limits: list[VHostLimits] = []
    policies: list[PolicyEntry] = []
    for fields in section(document, "parameters", plan.vhost):
        component = fields.text("component")
        if component == VHOST_LIMITS:
            limits.append(VHostLimits(fields.name("vhost"), fields.object("value")))
        elif component == OPERATOR_POLICY:
            policies.append(PolicyEntry.read_parameter(fields))
        else:
            name, vhost = fields.values.get("name"), fields.values.get("vhost")
            plan.skipped.append(
                f"parameter {name!r} of component {component!r} in virtual host {vhost!r}"
            )
    return limits, policies


def _exchanges(document: Mapping[str, Any], plan: Plan) -> list[ExchangeEntry]:
    """The exchanges of types that there are."""
    exchanges: list[ExchangeEntry] = []
    for entry in _read(document, "exchanges", ExchangeEntry.read, plan.vhost):
        if entry.type in EXCHANGE_TYPES:
            exchanges.append(entry)
        else:
            plan.skipped.append(f"{entry.label}: there is no type '{entry.type}' here")
    return exchanges


def _skip_others(document: Mapping[str, Any], plan: Plan) -> None:
    for fields in section(document, "global_parameters"):
        plan.skipped.append(f"global parameter {fields.values.get('name')!r}")
    for key in document.keys() - _SECTIONS - _ABOUT:
        if document[key]:
            plan.skipped.append(f"section {shown(key)}")
