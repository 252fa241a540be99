"""What an operator does between the steps of a transcript, in the words of rabbitmqctl.

    C ctl add_user alice secret
    C ctl set_permissions -p v1 alice "^a" "" ".*"

RabbitMQ is asked over the HTTP API of its management plugin: a request takes 10 ms, rabbitmqctl half a second. A
Broker in this process is told by its Administration (operator.py).
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

TIMEOUT_SECONDS = 20.0


class ControlFailed(AssertionError):
    """RabbitMQ refused what an operator asked for; the text is its answer."""


def take_options(words: Sequence[str], known: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """`-p v1` and the like anywhere in a line: the values of the known options, and the other words."""
    given, plain = dict(known), []
    left = iter(words)
    for word in left:
        if word in known:
            given[word] = next(left)
        else:
            plain.append(word)
    return given, plain


def path(*parts: str) -> str:
    """Path below /api/ of names that may contain anything."""
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


class Control:
    """Commands of rabbitmqctl, given to the management plugin of a RabbitMQ on this machine."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    def do(self, words: Sequence[str]) -> None:
        """Carry out one command; raises ControlFailed, and ValueError for a command that is not known here."""
        verbs: dict[str, Callable[[Sequence[str]], None]] = {
            "add_user": self._add_user,
            "change_password": self._add_user,
            "clear_password": self._clear_password,
            "set_user_tags": self._set_user_tags,
            "delete_user": lambda rest: self._ask("DELETE", path("users", rest[0])),
            "add_vhost": self._add_vhost,
            "delete_vhost": lambda rest: self._ask("DELETE", path("vhosts", rest[0])),
            "set_permissions": self._set_permissions,
            "clear_permissions": self._clear_permissions,
            "set_topic_permissions": self._set_topic_permissions,
            "clear_topic_permissions": self._clear_permissions,
            "set_vhost_limits": self._set_limits,
            "set_user_limits": self._set_limits,
            "set_policy": self._set_policy,
            "set_operator_policy": self._set_policy,
            "clear_policy": self._clear_policy,
            "clear_operator_policy": self._clear_policy,
        }
        if words[0] not in verbs:
            raise ValueError(f"no command {words[0]} here")
        self.verb = words[0]
        verbs[words[0]](words[1:])

    def _ask(self, method: str, target: str, body: dict[str, Any] | None = None) -> Any:
        """One request; what its answer says, None when nothing."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)
        headers = {
            "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
            "Content-Type": "application/json",
        }
        try:
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise ControlFailed(f"{method} {target}: {answer.status} {text}")
        return json.loads(text) if text else None

    def _add_user(self, words: Sequence[str]) -> None:
        self._ask("PUT", path("users", words[0]), {"password": words[1], "tags": ""})

    def _clear_password(self, words: Sequence[str]) -> None:
        self._ask("PUT", path("users", words[0]), {"password_hash": "", "tags": ""})

    def _set_user_tags(self, words: Sequence[str]) -> None:
        user = self._ask("GET", path("users", words[0]))
        kept = {name: user[name] for name in ("password_hash", "hashing_algorithm")}
        self._ask("PUT", path("users", words[0]), kept | {"tags": ",".join(words[1:])})

    def _add_vhost(self, words: Sequence[str]) -> None:
        """Unlike rabbitmqctl, the API gives the user who asks for it all rights in it."""
        self._ask("PUT", path("vhosts", words[0]), {})
        self._ask("DELETE", path("permissions", words[0], "guest"))

    def _set_permissions(self, words: Sequence[str]) -> None:
        given, (user, *patterns) = take_options(words, {"-p": "/"})
        body = dict(zip(("configure", "write", "read"), patterns, strict=True))
        self._ask("PUT", path("permissions", given["-p"], user), body)

    def _set_topic_permissions(self, words: Sequence[str]) -> None:
        given, (user, *rest) = take_options(words, {"-p": "/"})
        body = dict(zip(("exchange", "write", "read"), rest, strict=True))
        self._ask("PUT", path("topic-permissions", given["-p"], user), body)

    def _clear_permissions(self, words: Sequence[str]) -> None:
        kind = "topic-permissions" if "topic" in self.verb else "permissions"
        given, (user,) = take_options(words, {"-p": "/"})
        self._ask("DELETE", path(kind, given["-p"], user))

    def _set_limits(self, words: Sequence[str]) -> None:
        given, rest = take_options(words, {"-p": "/"})
        kind = "vhost-limits" if self.verb == "set_vhost_limits" else "user-limits"
        name = given["-p"] if kind == "vhost-limits" else rest[0]
        for limit, value in json.loads(rest[-1]).items():
            self._ask("PUT", path(kind, name, limit), {"value": value})

    def _set_policy(self, words: Sequence[str]) -> None:
        options = {"-p": "/", "--priority": "0", "--apply-to": "all"}
        given, (name, pattern, definition) = take_options(words, options)
        kind = "policies" if self.verb == "set_policy" else "operator-policies"
        body = {
            "pattern": pattern,
            "definition": json.loads(definition),
            "priority": int(given["--priority"]),
            "apply-to": given["--apply-to"],
        }
        self._ask("PUT", path(kind, given["-p"], name), body)

    def _clear_policy(self, words: Sequence[str]) -> None:
        given, (name,) = take_options(words, {"-p": "/"})
        kind = "policies" if self.verb == "clear_policy" else "operator-policies"
        self._ask("DELETE", path(kind, given["-p"], name))
