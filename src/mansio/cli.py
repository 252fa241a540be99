"""The command line. What a command needs is imported when it runs, to keep the others quick."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from mansio import __version__

EXIT_CONFIG: Final = 2
"""Exit code when the settings or options cannot be used; argparse's own is the same."""

SERVE_TEXT: Final = """\
Start a broker on 127.0.0.1:5672; Ctrl-C or SIGTERM stops it.

A setting comes from an option, else from the environment (MANSIO_PORT=5673), else from
the TOML file (port = 5673), else it has its default. The README lists all of them.
"""

SERVE_EXAMPLES: Final = """\
examples:
  mansio serve                            listen on 127.0.0.1:5672
  mansio serve --port 5673 --data-dir d2  beside another broker
  mansio serve --in-memory                for tests: nothing is kept
  mansio serve --bind 0.0.0.0             accept clients from other machines
  mansio serve --config mansio.toml       settings from a file
  MANSIO_LOG_FORMAT=json mansio serve     settings from the environment
"""

SERVE_OPTIONS: Final = (
    ("bind", "ADDRESS", "address to listen on (default: 127.0.0.1)"),
    ("port", "PORT", "TCP port, 0 for any free one (default: 5672)"),
    ("data_dir", "DIR", "folder of the log (default: ~/.local/share/mansio)"),
    ("sync", "POLICY", "always, interval=MS or never (default: always)"),
    ("segment_size", "SIZE", "files of the log (default: 16MiB)"),
    ("disk_free_limit", "SIZE", "free disk space at which publishers are paused (default: 50MiB)"),
    ("memory_budget", "SIZE", "messages kept in memory; more are paged out (default: 128MiB)"),
    ("log_level", "LEVEL", "debug, info, warning or error (default: info)"),
    ("log_format", "FORMAT", "text or json (default: text)"),
)
"""Settings that have an option: key, what stands for its value, help."""


def parser() -> argparse.ArgumentParser:
    """The commands and their options. config.load checks the values, with all other settings."""
    root = argparse.ArgumentParser(
        prog="mansio",
        description="Mansio: a message broker that speaks AMQP 0-9-1.",
        epilog="`mansio COMMAND --help` says more about a command.",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"mansio {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    serve_parser = commands.add_parser(
        "serve",
        help="start a broker",
        description=SERVE_TEXT,
        epilog=SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
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
    serve_parser.set_defaults(command=serve)
    return root


def serve(arguments: argparse.Namespace) -> int:
    """Run a broker; the exit code of the process."""
    from mansio.config import ConfigError, load

    options = {key: getattr(arguments, key) for key, _, _ in SERVE_OPTIONS}
    options["in_memory"] = arguments.in_memory
    try:
        settings = load(options, os.environ, arguments.config)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"mansio: {line}", file=sys.stderr)
        return EXIT_CONFIG
    from mansio.server.lifecycle import run

    return run(settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process; the console script `mansio`."""
    root = parser()
    words = sys.argv[1:] if argv is None else argv
    if not words:
        root.print_help()
        sys.exit(EXIT_CONFIG)
    arguments = root.parse_args(words)
    sys.exit(arguments.command(arguments))
