"""The command line. What a command needs is imported when it runs, to keep the others quick."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from mansio import __version__
from mansio.cli_admin import add_admin

if TYPE_CHECKING:
    from mansio.config import Config

    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

EXIT_FAILED: Final = 1
"""Exit code when a command could not do its work."""
EXIT_CONFIG: Final = 2
"""Exit code when the settings or options cannot be used; argparse's own is the same."""

SERVE_TEXT: Final = """\
Start a broker on 127.0.0.1:5672, for Redis clients on 127.0.0.1:6379, for ZeroMQ sockets on
127.0.0.1:5555; Ctrl-C or SIGTERM stops it. Where 6379 or 5555 is taken, as by a Redis server,
it starts without that and says so.

A setting comes from an option, else from the environment (MANSIO_PORT=5673), else from
the TOML file (port = 5673), else it has its default. The README lists all of them.
"""

SERVE_EXAMPLES: Final = """\
examples:
  mansio serve                            listen on 127.0.0.1:5672
  mansio serve --port 5673 --redis-port 6380 --zmq-port 5556 --data-dir d2
                                          beside another broker
  mansio serve --redis-port 0 --zmq-port 0
                                          AMQP clients only
  mansio serve --in-memory                for tests: nothing is kept
  mansio serve --bind 0.0.0.0             accept clients from other machines
  mansio serve --config mansio.toml       settings from a file
  MANSIO_LOG_FORMAT=json mansio serve     settings from the environment
"""

SERVE_OPTIONS: Final = (
    ("bind", "ADDRESS", "address to listen on (default: 127.0.0.1)"),
    ("port", "PORT", "TCP port, 0 for any free one (default: 5672)"),
    ("redis_port", "PORT", "TCP port for Redis clients, 0 for none (default: 6379, if it is free)"),
    ("redis_tls_port", "PORT", "TCP port for Redis clients with TLS, 0 for none (default: 0)"),
    ("redis_sync", "POLICY", "whether replies to Redis clients wait for the log: always, everysec"),
    ("zmq_port", "PORT", "TCP port for ZeroMQ sockets, 0 for none (default: 5555, if it is free)"),
    ("tls_port", "PORT", "TCP port for TLS, 0 for none; 5671 is usual (default: 0)"),
    ("tls_cert", "FILE", "certificate of the server, PEM; `mansio tls dev-ca` makes one"),
    ("tls_key", "FILE", "its private key, PEM (default: in the file of the certificate)"),
    ("tls_ca", "FILE", "certificates that sign those of clients, PEM"),
    ("tls_verify", "HOW", "certificates of clients: none, optional or required (default: none)"),
    ("data_dir", "DIR", "folder of the log (default: ~/.local/share/mansio)"),
    ("sync", "POLICY", "always, interval=MS or never (default: always)"),
    ("segment_size", "SIZE", "files of the log (default: 16MiB)"),
    ("disk_free_limit", "SIZE", "free disk space at which publishers are paused (default: 50MiB)"),
    ("memory_budget", "SIZE", "messages kept in memory; more are paged out (default: 128MiB)"),
    ("metrics_port", "PORT", "metrics for Prometheus over HTTP; 0 is off (default: 0)"),
    ("log_level", "LEVEL", "debug, info, warning or error (default: info)"),
    ("log_format", "FORMAT", "text or json (default: text)"),
)
"""Settings that have an option: key, what stands for its value, help."""

LOG_TEXT: Final = """\
Look at the log in a data directory, check it, print it, or save what is left of it.

info, verify and dump only read, and may be used while a broker runs on the directory.
salvage wants the broker stopped. Exit codes: 0 all is well, 1 damage or a failure.
"""

LOG_EXAMPLES: Final = """\
examples:
  mansio log info ~/.local/share/mansio          size, state, messages by queue
  mansio log verify /backup/monday               check every byte; exit code 1: damaged
  mansio log dump DIR --from 1200 | jq .         entries and records as JSON lines
  mansio log salvage DIR NEW                     copy what is readable, say what is not
  mansio serve --data-dir NEW                    and go on with that
"""

DUMP_TEXT: Final = """\
Print the log as JSON lines: each entry, followed by its records: topology, publishes with
exchange, routing key, size and properties of each message, settlements, and damage.
"""

SALVAGE_TEXT: Final = """\
Copy everything that can be read into a new data directory on which a broker starts, and
print what was skipped. What was settled in a skipped part comes back, as redelivered.
DIR is not changed. NEW must not exist, or be empty.
"""

BACKUP_TEXT: Final = """\
Copy the data directory of a broker, running or stopped, and verify the copy. Whatever was
confirmed before the command began is in it. DEST must not exist, or be empty; after a
failure it is as before. To restore, start a broker with --data-dir DEST.
Exit codes: 0 there is a verified backup, 1 there is none, 2 wrong options.
"""

BACKUP_EXAMPLES: Final = """\
examples:
  mansio backup /backup/monday                        of the default data directory
  mansio backup /backup/monday --data-dir /srv/mansio
  mansio backup "/backup/$(date +%F)" && find /backup -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -r {} +
  mansio serve --data-dir /backup/monday              restore
"""


DEV_CA_TEXT: Final = """\
Make a local CA and a certificate of the server that it has signed, to develop and test with, and with
--client certificates for users. All files go to DIR, readable by you alone. Nothing is written over: where
there is a CA already, it signs what is missing. For production use certificates of your own: docs/tls.md.
"""

DEV_CA_EXAMPLES: Final = """\
examples:
  mansio tls dev-ca                              CA and server, for this machine
  mansio tls dev-ca --host broker.test --host 10.1.2.3
  mansio tls dev-ca --client ann --client bob    for users, to log in without a password
"""


def parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The commands and their options; of some only those of the command that is chosen, if one is. config.load checks
    the values, with all other settings."""
    root = argparse.ArgumentParser(
        prog="mansio",
        description="Mansio: a message broker that speaks AMQP 0-9-1, Redis and ZeroMQ.",
        epilog="`mansio COMMAND --help` says more about a command.",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"mansio {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_log(commands)
    _add_backup(commands)
    _add_tls(commands)
    add_admin(commands, chosen)
    return root


def _add(
    commands: "Commands", name: str, help: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_serve(commands: "Commands") -> None:
    serve_parser = _add(commands, "serve", "start a broker", SERVE_TEXT, SERVE_EXAMPLES)
    serve_parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for key, metavar, text in SERVE_OPTIONS:
        option = "--" + key.replace("_", "-")
        serve_parser.add_argument(option, dest=key, metavar=metavar, help=text)
    serve_parser.add_argument(
        "--in-memory",
        action="store_const",
        const=True,
        help="keep nothing on disk: all is gone when the broker stops",
    )
    serve_parser.add_argument(
        "--tls-only", action="store_const", const=True, help="accept no connections without TLS"
    )
    serve_parser.set_defaults(command=serve)


def _add_log(commands: "Commands") -> None:
    log = _add(commands, "log", "look at, check or save a data directory", LOG_TEXT, LOG_EXAMPLES)
    actions = log.add_subparsers(title="actions", metavar="ACTION", required=True)
    about = "Print what is in a data directory: size, state, messages by queue."
    info_parser = _add(actions, "info", "what is in it", about)
    info_parser.set_defaults(command=log_info)
    about = "Check every byte of the log. Exit code 1: something is damaged; it is said what."
    verify_parser = _add(actions, "verify", "check every byte", about)
    verify_parser.set_defaults(command=log_verify)
    dump_parser = _add(actions, "dump", "print it as JSON lines", DUMP_TEXT)
    dump_parser.add_argument(
        "--from", dest="from_seq", metavar="SEQ", type=int, default=1, help="begin at this entry"
    )
    dump_parser.add_argument("--bodies", action="store_true", help="with the bodies of messages")
    dump_parser.set_defaults(command=log_dump)
    salvage_parser = _add(actions, "salvage", "save what can be read", SALVAGE_TEXT)
    salvage_parser.set_defaults(command=log_salvage)
    for each in (info_parser, verify_parser, dump_parser, salvage_parser):
        each.add_argument("dir", metavar="DIR", help="data directory")
    salvage_parser.add_argument("new", metavar="NEW", help="data directory to be made")


def _add_backup(commands: "Commands") -> None:
    backup_parser = _add(
        commands,
        "backup",
        "copy the data of a broker, running or not",
        BACKUP_TEXT,
        BACKUP_EXAMPLES,
    )
    backup_parser.add_argument("dest", metavar="DEST", help="data directory to be made")
    backup_parser.add_argument(
        "--data-dir", metavar="DIR", help="what to copy (default: as for `mansio serve`)"
    )
    backup_parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    backup_parser.set_defaults(command=backup)


def _add_tls(commands: "Commands") -> None:
    tls = _add(commands, "tls", "certificates for development", "Certificates for development.")
    actions = tls.add_subparsers(title="actions", metavar="ACTION", required=True)
    dev_ca = _add(actions, "dev-ca", "make a CA and certificates", DEV_CA_TEXT, DEV_CA_EXAMPLES)
    dev_ca.add_argument("--dir", default="mansio-tls", help="where to (default: mansio-tls)")
    for option, metavar, text in (
        ("--host", "NAME", "another name or address of the server; may be repeated"),
        ("--client", "USER", "a certificate for this user; may be repeated"),
    ):
        dev_ca.add_argument(option, metavar=metavar, action="append", default=[], help=text)
    dev_ca.add_argument(
        "--days", type=int, default=365, help="how long certificates are valid (default: 365)"
    )
    dev_ca.set_defaults(command=tls_dev_ca)


def serve(arguments: argparse.Namespace) -> int:
    """Run a broker; the exit code of the process."""
    options = {key: getattr(arguments, key) for key, _, _ in SERVE_OPTIONS}
    options |= {"in_memory": arguments.in_memory, "tls_only": arguments.tls_only}
    settings = _settings(options, arguments.config)
    if settings is None:
        return EXIT_CONFIG
    from mansio.server.lifecycle import run

    return run(settings)


def backup(arguments: argparse.Namespace) -> int:
    """Copy a data directory; the exit code of the process."""
    settings = _settings({"data_dir": arguments.data_dir}, arguments.config)
    if settings is None:
        return EXIT_CONFIG
    from mansio.tools.backup import backup

    source = Path(settings.data_dir).expanduser().absolute()
    return _guard(lambda: backup(source, Path(arguments.dest)))


def log_info(arguments: argparse.Namespace) -> int:
    """Print what is in a data directory; the exit code of the process."""
    from mansio.tools.info import info

    return _guard(lambda: info(Path(arguments.dir)))


def log_verify(arguments: argparse.Namespace) -> int:
    """Check a data directory; the exit code of the process."""
    from mansio.tools.verify import verify

    return _guard(lambda: verify(Path(arguments.dir)))


def log_dump(arguments: argparse.Namespace) -> int:
    """Print a log; the exit code of the process."""
    from mansio.tools.dump import dump

    return _guard(lambda: dump(Path(arguments.dir), arguments.from_seq, arguments.bodies))


def log_salvage(arguments: argparse.Namespace) -> int:
    """Save what is left of a log; the exit code of the process."""
    from mansio.tools.salvage import salvage

    return _guard(lambda: salvage(Path(arguments.dir), Path(arguments.new)))


def tls_dev_ca(arguments: argparse.Namespace) -> int:
    """Make certificates; the exit code of the process."""
    from mansio.tools.dev_ca import dev_ca

    folder = Path(arguments.dir)
    return _guard(lambda: dev_ca(folder, arguments.host, arguments.client, arguments.days))


def _settings(options: Mapping[str, object], file: str | None) -> "Config | None":
    """The settings; None, with a line for each fault, where they cannot be used."""
    from mansio.config import ENV_PASSWORD, ConfigError, load

    try:
        settings = load(options, os.environ, file)
        os.environ.pop(ENV_PASSWORD, None)  # no process that is started from here needs it
        return settings
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"mansio: {line}", file=sys.stderr)
        return None


def _guard(tool: Callable[[], int]) -> int:
    """Run a tool; what goes wrong is one line and EXIT_FAILED."""
    from mansio.log.base import LogError

    try:
        code = tool()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (LogError, OSError) as error:
        sys.stdout.flush()
        print(f"mansio: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("mansio: interrupted", file=sys.stderr)
        return EXIT_FAILED


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process; the console script `mansio`."""
    words = sys.argv[1:] if argv is None else argv
    root = parser(words[0] if words else None)
    if not words:
        root.print_help()
        sys.exit(EXIT_CONFIG)
    arguments = root.parse_args(words)
    sys.exit(arguments.command(arguments))
