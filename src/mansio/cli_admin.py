"""The operator's part of the command line: users, virtual hosts, rights, policies, connections, definitions."""

import argparse
from typing import TYPE_CHECKING, Final, TypeAlias

from mansio.cli_operator import (
    add_user,
    export_definitions,
    import_definitions,
    plain,
    set_limits,
    set_password,
    set_policy,
)

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

WHERE_TEXT: Final = """\
The command is for the broker on the data directory (as for `mansio serve`): for a running
one at once, else it is written into its data. Exit codes: 0 done and durable, 1 not done,
2 wrong options.
"""
USER_EXAMPLES: Final = """\
examples:
  mansio user add ann --tag administrator        asks for the password
  mansio user add app --password-file /run/secrets/app
  mansio permission set app '.*' '.*' '.*'       a user may do nothing before that
  mansio user list --json
  mansio user delete guest
"""
PERMISSION_EXAMPLES: Final = """\
CONFIGURE, WRITE and READ are regular expressions over names of exchanges and queues.

examples:
  mansio permission set app '.*' '.*' '.*'              everything in virtual host /
  mansio permission set app '' '^orders$' '' -V shop    publish to orders, and nothing else
  mansio permission list --user app
"""
POLICY_EXAMPLES: Final = """\
examples:
  mansio policy set ttl '^tmp\\.' '{"message-ttl": 60000}' --apply-to queues
  mansio policy set cap '.*' '{"max-length": 100000}' --operator
  mansio policy clear ttl
"""
DEFINITIONS_EXAMPLES: Final = """\
The format is RabbitMQ's: users with hashes of their passwords, virtual hosts, permissions,
limits, policies, exchanges, queues and bindings; no messages.

examples:
  mansio definitions export backup.json
  mansio definitions import rabbitmq.json     whole or, if something is wrong, not at all
  rabbitmqctl export_definitions - | mansio definitions import -
"""


def add_admin(commands: "Commands", chosen: str | None) -> None:
    """These commands; the actions of the one that is chosen only (None: of all), since they take 10 ms to make."""
    for name, (help, epilog, add) in _GROUPS.items():
        parser = commands.add_parser(
            name,
            help=help,
            description=WHERE_TEXT,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if chosen in (None, name):
            add(parser.add_subparsers(title="actions", metavar="ACTION", required=True))


def _action(
    actions: "Commands", group: str, name: str, help: str, *words: str
) -> argparse.ArgumentParser:
    """`words`: arguments by position, whose names are those of the command's."""
    parser = actions.add_parser(name, help=help, description=help, allow_abbrev=False)
    for word in words:
        parser.add_argument(word, metavar=word.upper())
    parser.add_argument(
        "--data-dir", metavar="DIR", help="of the broker (default: as for `mansio serve`)"
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument("--json", action="store_true", help="answer in JSON, for scripts")
    parser.set_defaults(command=plain, verb=f"{group} {name}", words=words)
    return parser


def _with_vhost(parser: argparse.ArgumentParser, default: str | None = "/") -> None:
    text = "virtual host (default: /)" if default else "of this virtual host only"
    parser.add_argument("-V", "--vhost", metavar="VHOST", default=default, help=text)
    _takes(parser, "vhost")


def _takes(parser: argparse.ArgumentParser, *words: str) -> None:
    """The command has these arguments too."""
    parser.set_defaults(words=(*parser.get_default("words"), *words))


def _add_user(actions: "Commands") -> None:
    _action(actions, "user", "list", "show all users")
    add = _action(actions, "user", "add", "add a user, who has no rights yet", "name")
    add.add_argument(
        "--tag",
        action="append",
        dest="tags",
        metavar="TAG",
        default=[],
        help="such as administrator; may be given several times",
    )
    add.set_defaults(command=add_user)
    passwd = _action(actions, "user", "passwd", "set another password", "name")
    passwd.set_defaults(command=set_password)
    for parser in (add, passwd):
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--password-file", metavar="FILE", help="read it there, instead of asking for it"
        )
        how.add_argument(
            "--password-stdin", action="store_true", help="read it from standard input"
        )
        how.add_argument(
            "--no-password", action="store_true", help="no password opens this user's account"
        )
    tag = _action(actions, "user", "tag", "set all tags of a user", "name")
    tag.add_argument("tags", metavar="TAG", nargs="*", help="none: the user has no tags any more")
    _takes(tag, "tags")
    limit = _action(actions, "user", "limit", "limit a user; a negative number: no limit", "name")
    _with_limits(limit, "max-connections", "max-channels")
    _action(actions, "user", "delete", "delete a user, with all rights and connections", "name")


def _with_limits(parser: argparse.ArgumentParser, *limits: str) -> None:
    for limit in limits:
        parser.add_argument(f"--{limit}", metavar="N", type=int, dest=limit)
    parser.set_defaults(command=set_limits, limits=limits)


def _add_vhost(actions: "Commands") -> None:
    _action(actions, "vhost", "list", "show all virtual hosts")
    add = _action(actions, "vhost", "add", "add a virtual host, which nobody may enter yet", "name")
    add.add_argument("--description", metavar="TEXT", default="")
    add.add_argument(
        "--tag", action="append", dest="tags", metavar="TAG", default=[], help="for people"
    )
    _takes(add, "description", "tags")
    text = "limit a virtual host; a negative number: no limit"
    limit = _action(actions, "vhost", "limit", text, "name")
    _with_limits(limit, "max-connections", "max-queues")
    text = "delete a virtual host with its queues, messages and connections"
    _action(actions, "vhost", "delete", text, "name")


def _add_permission(actions: "Commands") -> None:
    group = "permission"
    listing = _action(actions, group, "list", "show permissions")
    listing.add_argument("--user", metavar="USER", help="of this user only")
    _takes(listing, "user")
    _with_vhost(listing, None)
    setting = _action(
        actions, group, "set", "set what a user may do", "user", "configure", "write", "read"
    )
    clear = _action(actions, group, "clear", "let a user into a virtual host no more", "user")
    for parser in (setting, clear):
        _with_vhost(parser)


def _add_topic_permission(actions: "Commands") -> None:
    group = "topic-permission"
    listing = _action(actions, group, "list", "show topic permissions")
    listing.add_argument("--user", metavar="USER", help="of this user only")
    _takes(listing, "user")
    _with_vhost(listing, None)
    text = "set which keys a user may use"
    setting = _action(actions, group, "set", text, "user", "exchange", "write", "read")
    clear = _action(actions, group, "clear", "let a user use any key again", "user")
    clear.add_argument("exchange", metavar="EXCHANGE", nargs="?", help="default: all of them")
    _takes(clear, "exchange")
    for parser in (setting, clear):
        _with_vhost(parser)


def _add_policy(actions: "Commands") -> None:
    listing = _action(actions, "policy", "list", "show policies")
    text = "set a policy; DEFINITION is JSON"
    setting = _action(actions, "policy", "set", text, "name", "pattern", "definition")
    setting.add_argument(
        "--priority", metavar="N", type=int, default=0, help="the highest counts (default: 0)"
    )
    setting.add_argument(
        "--apply-to", metavar="KIND", default="all", help="queues, exchanges or all (default)"
    )
    setting.set_defaults(command=set_policy)
    _takes(setting, "priority", "apply_to")
    clear = _action(actions, "policy", "clear", "take a policy away", "name")
    for parser in (listing, setting, clear):
        parser.add_argument(
            "--operator", action="store_true", help="operator policies, which set bounds to others"
        )
        _takes(parser, "operator")
        _with_vhost(parser, None if parser is listing else "/")


def _add_connection(actions: "Commands") -> None:
    group = "connection"
    _action(actions, group, "list", "show connections")
    close = _action(actions, group, "close", "close connections")
    which = close.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", help="as `connection list` shows it")
    which.add_argument("--user", metavar="USER", help="all of this user")
    close.add_argument("--reason", metavar="TEXT", default="closed by an operator")
    _takes(close, "name", "user", "reason")


def _add_definitions(actions: "Commands") -> None:
    group = "definitions"
    export = _action(actions, group, "export", "write a definitions file; it is a secret")
    export.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="default: standard output"
    )
    export.set_defaults(command=export_definitions)
    importing = _action(actions, group, "import", "import a definitions file")
    importing.add_argument("file", metavar="FILE", help="- for standard input")
    importing.add_argument(
        "-V", "--vhost", metavar="VHOST", help="for a file of one virtual host: which one"
    )
    importing.set_defaults(command=import_definitions)


_GROUPS: Final = {
    "user": ("users: who may log in", USER_EXAMPLES, _add_user),
    "vhost": ("virtual hosts", "", _add_vhost),
    "permission": ("what users may do where", PERMISSION_EXAMPLES, _add_permission),
    "topic-permission": ("which keys users may use at topic exchanges", "", _add_topic_permission),
    "policy": ("what holds for queues and exchanges by name", POLICY_EXAMPLES, _add_policy),
    "connection": ("who is connected to a running broker", "", _add_connection),
    "definitions": ("all of this as a file, out and in", DEFINITIONS_EXAMPLES, _add_definitions),
}
"""By name: help, examples, and what adds the actions."""
