"""What the operator's commands do: arguments to a request, its answer to a table or JSON. See `cli_admin.py`."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 2


class Failed(Exception):
    """The command cannot be done; the text is one line for people."""


def plain(arguments: argparse.Namespace) -> int:
    """A command whose arguments are those of the command line; the exit code of the process."""
    return _do(arguments, {word: getattr(arguments, word) for word in arguments.words})


def add_user(arguments: argparse.Namespace) -> int:
    """Add a user; the exit code of the process."""
    return _with_password(arguments, {"name": arguments.name, "tags": arguments.tags})


def set_password(arguments: argparse.Namespace) -> int:
    """Set a user's password; the exit code of the process."""
    return _with_password(arguments, {"name": arguments.name})


def set_limits(arguments: argparse.Namespace) -> int:
    """Limit a user or a virtual host; the exit code of the process."""
    given = {key: getattr(arguments, key) for key in arguments.limits}
    limits = {key: value for key, value in given.items() if value is not None}
    if not limits:
        options = " or ".join(f"--{key}" for key in arguments.limits)
        return _fail(f"give {options}", EXIT_CONFIG)
    return _do(arguments, {"name": arguments.name, "limits": limits})


def set_policy(arguments: argparse.Namespace) -> int:
    """Set a policy; the exit code of the process."""
    try:
        arguments.definition = json.loads(arguments.definition)
    except ValueError as error:
        return _fail(f"the definition is not JSON: {error}", EXIT_CONFIG)
    if not isinstance(arguments.definition, dict):
        return _fail('the definition must be an object, such as {"max-length": 1000}', EXIT_CONFIG)
    return plain(arguments)


def export_definitions(arguments: argparse.Namespace) -> int:
    """Write a definitions file; the exit code of the process."""
    try:
        document, _ = _operate(arguments, {})
        raw = _document(document)
        if arguments.file == "-":
            sys.stdout.buffer.write(raw)
            sys.stdout.buffer.flush()
        else:
            _write_secret(arguments.file, raw)
    except Failed as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot write {arguments.file}: {error.strerror}")
    return EXIT_OK


def _document(document: Any) -> bytes:
    try:
        return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a name that is no UTF-8
        return json.dumps(document, indent=2).encode() + b"\n"


def _write_secret(path: str, raw: bytes) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    temporary = f"{path}.new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def import_definitions(arguments: argparse.Namespace) -> int:
    """Import a definitions file; the exit code of the process."""
    from mansio.admin.definitions import read_document
    from mansio.core.errors import BrokerError

    name = "standard input" if arguments.file == "-" else arguments.file
    try:
        if arguments.file == "-":
            raw = sys.stdin.buffer.read()
        else:
            with open(arguments.file, "rb") as file:
                raw = file.read()
        document = read_document(raw)
        done, _ = _operate(arguments, {"document": document, "vhost": arguments.vhost}, told=True)
    except OSError as error:
        return _fail(f"cannot read {name}: {error.strerror}")
    except BrokerError as error:
        return _fail(f"{name}: {error.text}")
    except Failed as error:
        return _fail(f"{name}: {error}")
    if arguments.json:
        _print(done, as_json=True)
        return EXIT_OK
    _print(done["sections"], as_json=False)
    for what in done["dropped"]:
        print(f"deleted, since the file does not name it and nobody has used it: {_shown(what)}")
    for what in done["skipped"]:
        print(f"skipped, it means nothing here: {_shown(what)}")
    return EXIT_OK


def _with_password(arguments: argparse.Namespace, request: dict[str, Any]) -> int:
    from mansio.admin.passwords import hash_password
    from mansio.core.errors import BrokerError

    try:
        password = _password(arguments)
        known, hashing = ("", "") if password is None else hash_password(password)
    except Failed as error:
        return _fail(str(error))
    except BrokerError as error:
        return _fail(error.text)
    except (EOFError, KeyboardInterrupt):
        return _fail("no password was given")
    return _do(arguments, {**request, "password_hash": known, "hashing": hashing})


def _password(arguments: argparse.Namespace) -> str | None:
    """From where it is no secret to others: never from the command line. None: there is to be none."""
    if arguments.no_password:
        return None
    if arguments.password_file is not None:
        from mansio.admin.secret_file import read_secret

        try:
            return read_secret(arguments.password_file)
        except OSError as error:
            raise Failed(f"cannot read {arguments.password_file}: {error.strerror}") from None
    if arguments.password_stdin:
        line = sys.stdin.buffer.readline()
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    if not sys.stdin.isatty():
        raise Failed("no terminal to ask for a password: give --password-file or --password-stdin")
    from getpass import getpass

    password = getpass(f"Password of user {arguments.name}: ")
    if getpass("Once more: ") != password:
        raise Failed("these were two different passwords")
    return password


def _do(arguments: argparse.Namespace, request: Mapping[str, Any]) -> int:
    try:
        result, _ = _operate(arguments, request, told=True)
    except Failed as error:
        return _fail(str(error))
    if result is not None:
        _print(result, arguments.json)
    return EXIT_OK


def _operate(
    arguments: argparse.Namespace, request: Mapping[str, Any], told: bool = False
) -> tuple[Any, bool]:
    """(what the command answers, whether a running broker did it); Failed. `told`: people hear that none is running."""
    from mansio.config import ConfigError, load

    try:
        config = load({"data_dir": arguments.data_dir}, os.environ, arguments.config)
    except ConfigError as error:
        for line in str(error).splitlines():
            _fail(line)
        sys.exit(EXIT_CONFIG)
    from mansio.admin.commands import COMMANDS
    from mansio.server.operate import OperateError, operate

    try:
        done = operate(config, arguments.verb, request)
    except OperateError as error:
        raise Failed(str(error)) from None
    except KeyboardInterrupt:
        raise Failed("interrupted: it may be done or not") from None
    if told and not done.online and COMMANDS[arguments.verb].changes:
        print(
            f"mansio: no broker is running on {config.data_dir}: changed its data", file=sys.stderr
        )
    return done


def _print(result: Any, as_json: bool) -> None:
    try:
        if as_json:
            print(json.dumps(result, indent=2))
        elif result:
            from tabulate import tabulate

            rows = [{key: _cell(value) for key, value in row.items()} for row in result]
            print(tabulate(rows, headers="keys", disable_numparse=True))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return _shown(", ".join(map(str, value)))
    if isinstance(value, dict):
        return _shown(", ".join(f"{key}={each}" for key, each in value.items()))
    return _shown(str(value))


def _shown(text: str) -> str:
    """Text that does nothing to a terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _fail(text: str, code: int = EXIT_FAILED) -> int:
    line = ": ".join(each for each in text.splitlines() if each)
    print(f"mansio: {_shown(line)}", file=sys.stderr)
    return code
