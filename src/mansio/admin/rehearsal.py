"""Trying a plan out, so that an import is done whole or not at all.

A second broker gets what the plan may touch of the real one, without messages and connections, and the plan is applied
to it by the very commands that are used afterwards. What goes well there goes well here.
"""

from collections import Counter

from mansio.admin.entries import Entry, Needed
from mansio.admin.operator import operator
from mansio.admin.plan import Plan
from mansio.admin.topology_entries import BindingEntry, QueueEntry
from mansio.core.broker import Broker
from mansio.core.errors import BadValue, BrokerError
from mansio.core.routing import Exchange
from mansio.core.topology import VHost
from mansio.core.users import DEFAULT_VHOST, MAX_QUEUES, User


def rehearse(broker: Broker, plan: Plan) -> None:
    """BadValue says which entry cannot be applied, and why; the broker stays as it is.

    Bindings without ends leave the plan: RabbitMQ 3.10.8 exports those of internal exchanges without these.
    """
    stage = _stage(broker, plan)
    for section, entries in plan.entries.items():
        if section == "bindings":
            plan.entries[section] = entries = _with_ends(entries, stage, plan)
        for entry in entries:
            try:
                entry.apply(stage)
            except BrokerError as error:
                raise BadValue(f"{entry.label}: {error.text}") from None
            if isinstance(entry, BindingEntry) and entry.must_wait(broker):
                raise BadValue(
                    f"{entry.label}: what the exchange remembers is being read, try again"
                )
        if section == "limits":
            _check_room(broker, stage, plan)


def _stage(broker: Broker, plan: Plan) -> Broker:
    """A broker with what the plan names and the real one has."""
    stage = Broker(broker.limits, means=broker.means)
    stage.now_ms = broker.now_ms
    stage.users.forget_all()
    stage.remove_vhost(DEFAULT_VHOST)
    needed = {need for entry in plan.all() for need in entry.needs()}
    for need in sorted(needed, key=lambda each: _ORDER.index(each.kind)):
        _put(need, broker, stage)
    return stage


_ORDER = ("user", "vhost", "exchange", "queue")


def _put(need: Needed, broker: Broker, stage: Broker) -> None:
    """One of the things of the real broker, if it has it."""
    if need.kind == "user":
        user = broker.users.find(need.name)
        if user is not None:
            stage.users.add(User(user.name, user.password_hash, user.hashing, user.tags))
        return
    host = broker.vhosts.get(need.vhost)
    if host is None:
        return
    if need.kind == "vhost":
        stage.add_vhost(need.vhost)
    elif need.kind == "exchange":
        _put_exchange(need.name, host, stage.vhosts[need.vhost])
    else:
        _put_queue(need.name, host, stage)


def _put_exchange(name: str, host: VHost, stage: VHost) -> None:
    found = host.exchanges.get(name)
    if found is not None and name not in stage.exchanges:
        stage.exchanges[name] = Exchange(
            name,
            found.type,
            found.durable,
            found.auto_delete,
            found.internal,
            found.arguments,
            host.means,
        )


def _put_queue(name: str, host: VHost, stage: Broker) -> None:
    found = host.queues.get(name)
    if found is None:
        return
    owner = operator(host.name) if found.owner is not None else None
    queue = stage.definitions.make_queue(
        stage.definitions.take_id(),
        host.name,
        name,
        found.durable,
        found.auto_delete,
        owner,
        found.arguments,
    )
    stage.vhosts[host.name].add_queue(queue)


def _with_ends(entries: list[Entry], stage: Broker, plan: Plan) -> list[Entry]:
    """Those bindings whose source and destination there are."""
    found: list[Entry] = []
    for entry in entries:
        missing = entry.missing(stage) if isinstance(entry, BindingEntry) else None
        if missing is None:
            found.append(entry)
        else:
            plan.skipped.append(f"{entry.label}: there is no {missing}")
    return found


def _check_room(broker: Broker, stage: Broker, plan: Plan) -> None:
    """Whether the virtual hosts may have so many queues; the stage has but few of them, so it need not count."""
    new: Counter[str] = Counter()
    for vhost, name in {
        (entry.vhost, entry.name)
        for entry in plan.entries["queues"]
        if isinstance(entry, QueueEntry)
    }:
        host = broker.vhosts.get(vhost)
        new[vhost] += host is None or name not in host.queues
    for name, staged in stage.vhosts.items():
        real = broker.vhosts.get(name)
        limits = staged.limits or (real.limits if real is not None else {})
        there = len(real.queues) if real is not None else 0
        limit = limits.get(MAX_QUEUES, -1)
        if 0 <= limit < there + new[name] and new[name]:
            raise BadValue(
                f"virtual host '{name}' has {there} queues and may have {limit}: {new[name]} more are too many"
            )
        staged.limits = {}
