"""Definitions files: everything durable of a broker but its messages, in RabbitMQ's JSON format, out and in.

    export   the broker ──► document
    import   document ──► plan (read whole) ──► rehearsal (applied whole to a second broker) ──► the broker

https://www.rabbitmq.com/docs/definitions; as observed of RabbitMQ 3.10.8.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from mansio import __version__
from mansio.admin.entries import SHA256
from mansio.admin.plan import VHOST_LIMITS, Plan, read_plan
from mansio.admin.policy_entries import OPERATOR_POLICY, PolicyEntry, entries_of
from mansio.admin.rehearsal import rehearse
from mansio.admin.tables import table_fields
from mansio.core.broker import Broker
from mansio.core.errors import BadValue
from mansio.core.queue import Queue
from mansio.core.rights import Rights
from mansio.core.routing import Binding, Exchange
from mansio.core.topology import VHost
from mansio.core.topology_records import PREDECLARED
from mansio.core.users import DEFAULT_USER, DEFAULT_VHOST

Document = dict[str, Any]

RABBITMQ_VERSION: Final = "3.10.8"
"""Whose format this is: RabbitMQ reads from it how to understand the rest."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: (in the file, new or changed) by section; and what means nothing here."""

    counts: dict[str, tuple[int, int]]
    skipped: list[str]
    dropped: list[str]
    """What there was only because there was nothing else."""


def read_document(raw: bytes | str) -> Any:
    """JSON as it was written; BadValue with the place of the fault."""
    try:
        return json.loads(raw, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise BadValue(f"not JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise BadValue(f"not JSON: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadValue(f"not JSON that can be used: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def import_definitions(
    broker: Broker, document: Any, fresh: bool = False, vhost: str | None = None
) -> Imported:
    """Brings what the document says into the broker, all of it or, with BadValue, nothing.

    Users, virtual hosts, rights, limits and policies of the document replace those of the same name; exchanges and
    queues must be the same where they exist. What the document does not name stays. `fresh`: nobody has used the broker
    yet, so the default user and virtual host go if the document says which ones there are, without these.
    `vhost`: where to everything goes, of a file of one virtual host.
    """
    plan = read_plan(document, vhost)
    rehearse(broker, plan)
    counts = {
        section: (len(entries), sum([entry.apply(broker) for entry in entries]))
        for section, entries in plan.entries.items()
    }
    return Imported(counts, plan.skipped, _drop_defaults(broker, plan) if fresh else [])


def _drop_defaults(broker: Broker, plan: Plan) -> list[str]:
    dropped = []
    if plan.vhosts is not None and DEFAULT_VHOST not in plan.vhosts and _is_untouched(broker):
        broker.administration.delete_vhost(DEFAULT_VHOST)
        dropped.append(f"virtual host '{DEFAULT_VHOST}'")
    known = broker.users.find(DEFAULT_USER) is not None
    if plan.users is not None and DEFAULT_USER not in plan.users and known:
        broker.administration.delete_user(DEFAULT_USER)
        dropped.append(f"user '{DEFAULT_USER}'")
    return dropped


def _is_untouched(broker: Broker) -> bool:
    host = broker.vhosts.get(DEFAULT_VHOST)
    return host is not None and not host.queues and host.exchanges.keys() <= PREDECLARED


def export_definitions(broker: Broker) -> Document:
    """Everything durable: by name, but exchanges, queues and bindings in order of creation."""
    hosts = [broker.vhosts[name] for name in sorted(broker.vhosts)]
    return {
        "rabbit_version": RABBITMQ_VERSION,
        "rabbitmq_version": RABBITMQ_VERSION,
        "product_name": "Mansio",
        "product_version": __version__,
        "users": list(_users(broker)),
        "vhosts": [_vhost(host) for host in hosts],
        "permissions": list(_permissions(broker)),
        "topic_permissions": list(_topic_permissions(broker)),
        "parameters": list(_parameters(broker, hosts)),
        "global_parameters": [],
        "policies": [
            _policy(entry) for host in hosts for entry in entries_of(broker, host.name, False)
        ],
        "queues": [
            _queue(queue)
            for host in hosts
            for queue in host.queues.values()
            if queue.lasting and (queue.vacancy is None or queue.bindings)
        ],
        "exchanges": [
            _exchange(exchange, host)
            for host in hosts
            for exchange in host.exchanges.values()
            if exchange.durable and exchange.name not in PREDECLARED
        ],
        "bindings": [
            _binding(binding, host)
            for host in hosts
            for exchange in host.exchanges.values()
            for binding in exchange.bindings.values()
            if binding.durable
        ],
    }


def _users(broker: Broker) -> Iterator[Document]:
    for user in sorted(broker.users, key=attrgetter("name")):
        yield {
            "name": user.name,
            "password_hash": user.password_hash,
            "hashing_algorithm": user.hashing or SHA256,
            "tags": list(user.tags),
            "limits": dict(user.limits),
        }


def _vhost(host: VHost) -> Document:
    about = {"description": "", "tags": [], **host.about}
    return {"name": host.name, "limits": dict(host.limits), "metadata": host.about and about}


def _permissions(broker: Broker) -> Iterator[Document]:
    for rights in sorted(broker.users.all_rights(), key=_who):
        if rights.permission is not None:
            who = {"user": rights.user.name, "vhost": rights.vhost}
            yield who | rights.permission._asdict()


def _topic_permissions(broker: Broker) -> Iterator[Document]:
    for rights in sorted(broker.users.all_rights(), key=_who):
        for exchange, permission in sorted(rights.topics.items()):
            who = {"user": rights.user.name, "vhost": rights.vhost, "exchange": exchange}
            yield who | permission._asdict()


def _who(rights: Rights) -> tuple[str, str]:
    return rights.user.name, rights.vhost


def _parameters(broker: Broker, hosts: list[VHost]) -> Iterator[Document]:
    for host in hosts:
        name = host.name
        if host.limits:
            yield {
                "component": VHOST_LIMITS,
                "name": "limits",
                "vhost": name,
                "value": dict(host.limits),
            }
        for entry in entries_of(broker, name, True):
            value = _policy(entry)
            about = {key: value.pop(key) for key in ("vhost", "name")}
            yield {"component": OPERATOR_POLICY, "value": value} | about


def _policy(entry: PolicyEntry) -> Document:
    return {
        "vhost": entry.vhost,
        "name": entry.name,
        "pattern": entry.pattern,
        "apply-to": entry.apply_to,
        "definition": entry.definition,
        "priority": entry.priority,
    }


def _queue(queue: Queue) -> Document:
    return {
        "name": queue.name,
        "vhost": queue.vhost,
        "type": queue.arguments.get("x-queue-type", "classic"),
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        **table_fields(queue.arguments),
    }


def _exchange(exchange: Exchange, host: VHost) -> Document:
    return {
        "name": exchange.name,
        "vhost": host.name,
        "type": exchange.type,
        "durable": exchange.durable,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        **table_fields(exchange.arguments),
    }


def _binding(binding: Binding, host: VHost) -> Document:
    return {
        "source": binding.source.name,
        "vhost": host.name,
        "destination": binding.destination.name,
        "destination_type": "exchange" if binding.to_exchange else "queue",
        "routing_key": binding.key,
        **table_fields(binding.arguments),
    }
