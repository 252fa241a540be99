"""The commands of rabbitmqctl that a transcript names (control.py), given to a Broker in this process."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence

from mansio.core.broker import Broker
from mansio.core.errors import BadValue, NotFound
from mansio.core.rights import Permission, TopicPermission
from mansio.core.users import DEFAULT_HASHING
from tests.interop.control import ControlFailed, take_options

SALT = b"salt"


def quick_hash(password: str) -> str:
    """A hash as RabbitMQ makes them: it costs next to nothing."""
    digest = hashlib.sha256(SALT + password.encode()).digest()
    return base64.b64encode(SALT + digest).decode()


class Operator:
    """Somebody who may do all."""

    def __init__(self, broker: Broker) -> None:
        self.administration = broker.administration
        self.policies = broker.policies
        self.users = broker.users

    def do(self, words: Sequence[str]) -> None:
        """Carry out one command; raises ControlFailed, and ValueError for a command that is not known here."""
        verbs: dict[str, Callable[[str, list[str]], None]] = {
            "add_user": self._add_user,
            "change_password": self._change_password,
            "clear_password": lambda _, rest: self.administration.set_password(rest[0], "", ""),
            "set_user_tags": lambda _, rest: self.administration.set_tags(rest[0], rest[1:]),
            "delete_user": lambda _, rest: self.administration.delete_user(rest[0]),
            "add_vhost": self._add_vhost,
            "delete_vhost": lambda _, rest: self.administration.delete_vhost(rest[0]),
            "set_permissions": self._set_permissions,
            "clear_permissions": self._set_permissions,
            "set_topic_permissions": self._set_topic_permissions,
            "clear_topic_permissions": self._clear_topic_permissions,
            "set_vhost_limits": self._set_vhost_limits,
            "set_user_limits": self._set_user_limits,
            "set_policy": lambda *about: self._set_policy(*about, False),
            "set_operator_policy": lambda *about: self._set_policy(*about, True),
            "clear_policy": lambda vhost, rest: self.policies.delete(vhost, rest[0]),
            "clear_operator_policy": lambda vhost, rest: self.policies.delete(vhost, rest[0], True),
        }
        if words[0] not in verbs:
            raise ValueError(f"no command {words[0]} here")
        given, rest = take_options(words[1:], {"-p": "/"})
        try:
            verbs[words[0]](given["-p"], rest)
        except (BadValue, NotFound) as error:
            raise ControlFailed(error.text) from None

    def _add_user(self, _: str, words: list[str]) -> None:
        self.administration.put_user(words[0], quick_hash(words[1]), DEFAULT_HASHING)

    def _change_password(self, _: str, words: list[str]) -> None:
        self.administration.set_password(words[0], quick_hash(words[1]), DEFAULT_HASHING)

    def _add_vhost(self, _: str, words: list[str]) -> None:
        self.administration.put_vhost(words[0])

    def _set_permissions(self, vhost: str, words: list[str]) -> None:
        user, *patterns = words
        self.administration.permit(user, vhost, Permission(*patterns) if patterns else None)

    def _set_topic_permissions(self, vhost: str, words: list[str]) -> None:
        user, exchange, write, read = words
        self.administration.permit_topic(user, vhost, exchange, TopicPermission(write, read))

    def _clear_topic_permissions(self, vhost: str, words: list[str]) -> None:
        for exchange in list(self.users.rights(words[0], vhost).topics):
            self.administration.permit_topic(words[0], vhost, exchange, None)

    def _set_vhost_limits(self, vhost: str, words: list[str]) -> None:
        self.administration.limit_vhost(vhost, json.loads(words[0]))

    def _set_user_limits(self, _: str, words: list[str]) -> None:
        self.administration.limit_user(words[0], json.loads(words[1]))

    def _set_policy(self, vhost: str, words: list[str], operator: bool) -> None:
        given, (name, pattern, definition) = take_options(
            words, {"--priority": "0", "--apply-to": "all"}
        )
        priority, apply_to = int(given["--priority"]), given["--apply-to"]
        self.policies.put(
            vhost, name, pattern, json.loads(definition), priority, apply_to, operator
        )
