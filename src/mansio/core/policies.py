"""What operators do to policies: each change holds at once, for what is there and for what is declared later.

    put, delete ──► host.policies ──► every queue and exchange of the virtual host: has what is asked of it changed?
                                           │ yes
                                           └─► `arming`, with all messages where they are

A change is a record in the log, and policies are part of its snapshots. Errors: NotFound for what there is none of,
BadValue for what cannot be, with the texts of rabbitmqctl 3.10.8.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mansio.core.arming import rearm
from mansio.core.errors import BadValue, NotFound
from mansio.core.patterns import Pattern
from mansio.core.policy import APPLY_TO, Policy, definition_of
from mansio.core.policy_keys import Definition, erlang_text, fault
from mansio.core.queue import Queue
from mansio.core.records import encode_topology
from mansio.core.routing import Exchange

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.topology import VHost

PUT_POLICY: Final = "put policy"
DELETE_POLICY: Final = "delete policy"

NAME_CHARS_MAX: Final = 255
DEFINITION_CHARS_MAX: Final = 65_536
"""Of a definition, as JSON."""
POLICIES_MAX: Final = 4096
"""Of a virtual host, and as many operator policies: a declaration looks at all of them."""


class Policies:
    """The commands; `broker.policies`."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    def put(
        self,
        vhost: str,
        name: str,
        pattern: str,
        definition: dict[str, Any],
        priority: int = 0,
        apply_to: str = "all",
        operator: bool = False,
    ) -> None:
        """Makes a policy, or an operator policy, or puts it in the place of one of this name. NotFound, BadValue."""
        host = self._host(vhost)
        _check(name, pattern, definition, priority, apply_to, operator)
        known = host.policies.of_kind(operator)
        if name not in known and len(known) >= POLICIES_MAX:
            raise BadValue(f"there are {POLICIES_MAX} policies in virtual host '{vhost}' already")
        policy, before = (
            Policy(name, pattern, apply_to, priority, dict(definition)),
            known.get(name),
        )
        if policy != before:
            host.policies.put(policy, operator)
            self._apply(host, policy, before)
            self._write(PUT_POLICY, vhost, operator, **policy_fields(policy))

    def delete(self, vhost: str, name: str, operator: bool = False) -> None:
        """What it asked for is not asked for any more; NotFound."""
        host = self._broker.vhosts.get(vhost)
        gone = None if host is None else host.policies.remove(name, operator)
        if host is None or gone is None:
            raise NotFound("Parameter does not exist")
        self._apply(host, gone)
        self._write(DELETE_POLICY, vhost, operator, name=name)

    def list(self, vhost: str, operator: bool = False) -> Sequence[Policy]:
        """All of a virtual host, by name; NotFound."""
        known = self._host(vhost).policies.of_kind(operator)
        return [known[name] for name in sorted(known)]

    def of(self, found: Queue | Exchange) -> tuple[str | None, str | None, Definition]:
        """The names of the policy and of the operator policy that hold, and what they say together."""
        if isinstance(found, Queue):
            holding = self._host(found.vhost).policies.of_queue(found)
        else:
            hosts = self._broker.vhosts.values()
            home = next(each for each in hosts if each.exchanges.get(found.name) is found)
            holding = home.policies.of_exchange(found)
        own, operator = (None if policy is None else policy.name for policy in holding)
        return own, operator, definition_of(holding)

    def apply(self, queue: Queue) -> None:
        """The queue does what the policies ask for that match it now."""
        asked = self._broker.vhosts[queue.vhost].policies.asked(queue)
        if asked != queue.asked:
            rearm(self._broker, queue, asked)

    def restore(self, host: "VHost", change: dict[str, Any]) -> None:
        """A change that was read from the log. KeyError, TypeError, ValueError when it makes no sense."""
        operator, policy = change["operator"], None
        before = host.policies.remove(change["name"], operator)
        if change["do"] == PUT_POLICY:
            policy = _policy_of(change)
            host.policies.put(policy, operator)
        self._apply(host, policy, before)

    def restore_all(self, host: "VHost", fields: dict[str, Any]) -> None:
        """The same for those of a snapshot, see `policies_fields`."""
        for operator, key in ((False, "policies"), (True, "operator_policies")):
            for each in fields.get(key, ()):
                policy = _policy_of(each)
                host.policies.put(policy, operator)
                self._apply(host, policy)

    def _apply(self, host: "VHost", *changed: Policy | None) -> None:
        """These have come or gone: what does not have their patterns in its name is not concerned."""
        expressions = [policy.expression for policy in changed if policy is not None]
        for queue in list(host.queues.values()):
            if any(each.is_in(queue.name) for each in expressions):
                self.apply(queue)
        for exchange in host.exchanges.values():
            exchange.alternate = host.policies.alternate(exchange)
        host.version += 1  # routes know which queues have priorities or bounds

    def _host(self, vhost: str) -> "VHost":
        host = self._broker.vhosts.get(vhost)
        if host is None:
            raise NotFound(f"Virtual host '{vhost}' does not exist")
        return host

    def _write(self, do: str, vhost: str, operator: bool, **fields: Any) -> None:
        change = {"do": do, "vhost": vhost, "operator": operator, **fields}
        self._broker.journal.write(encode_topology(change))


def policy_fields(policy: Policy) -> dict[str, Any]:
    """A policy as records say it."""
    return {
        "name": policy.name,
        "pattern": policy.pattern,
        "apply_to": policy.apply_to,
        "priority": policy.priority,
        "definition": policy.definition,
    }


def policies_fields(host: "VHost") -> dict[str, Any]:
    """All of a virtual host as snapshots say them; nothing where there are none."""
    kinds = {"policies": host.policies.own, "operator_policies": host.policies.operator}
    return {
        key: [policy_fields(policy) for policy in known.values()]
        for key, known in kinds.items()
        if known
    }


def _policy_of(fields: dict[str, Any]) -> Policy:
    """The reverse of `policy_fields`. KeyError, ValueError when it is no policy."""
    if fields["apply_to"] not in APPLY_TO or not isinstance(fields["definition"], dict):
        raise ValueError(f"a policy {fields['name']!r} that makes sense")
    if _pattern_fault(fields["pattern"]) is not None:
        raise ValueError(f"a pattern of policy {fields['name']!r} that makes sense")
    return Policy(
        fields["name"],
        fields["pattern"],
        fields["apply_to"],
        fields["priority"],
        fields["definition"],
    )


def _check(
    name: str, pattern: str, definition: Any, priority: Any, apply_to: str, operator: bool
) -> None:
    """BadValue with everything that is wrong, in RabbitMQ's order."""
    if not isinstance(name, str) or len(name) > NAME_CHARS_MAX:
        raise BadValue(f"the name of a policy must be text of at most {NAME_CHARS_MAX} characters")
    faults = [fault(definition, operator)]
    if apply_to not in APPLY_TO:
        allowed = ", ".join(f"'{each}'" for each in APPLY_TO[:-1])
        faults.append(
            f"apply-to '{apply_to}' unrecognised; should be {allowed} or '{APPLY_TO[-1]}'"
        )
    faults.append(_pattern_fault(pattern))
    if isinstance(priority, bool) or not isinstance(priority, int):
        faults.append(f"priority should be a number, actually was {erlang_text(priority)}")
    wrong = [each for each in faults if each is not None]
    if wrong:
        raise BadValue("Validation failed\n\n" + "\n".join(wrong))
    if len(json.dumps(definition)) > DEFINITION_CHARS_MAX:
        raise BadValue(
            f"the definition of a policy is longer than {DEFINITION_CHARS_MAX} characters"
        )


def _pattern_fault(pattern: Any) -> str | None:
    if not isinstance(pattern, str):
        return f"pattern should be a binary but was {erlang_text(pattern)}"
    try:
        Pattern(pattern)
    except BadValue as error:
        wrong = error.__cause__ or error
        return f"pattern should be regular expression but is invalid: {wrong}"
    return None
