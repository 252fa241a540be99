"""The command line, as a user meets it: other processes, exit codes and output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mansio

pytestmark = pytest.mark.process


def mansio_command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MANSIO_")}
    return subprocess.run(
        [sys.executable, "-m", "mansio", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean | {"COLUMNS": "100", "TERM": "dumb"} | environ,
    )


def test_version() -> None:
    done = mansio_command("--version")
    assert (done.returncode, done.stdout) == (0, f"mansio {mansio.__version__}\n")


def test_help_shows_the_commands_and_serve_its_options_with_examples() -> None:
    assert "serve" in mansio_command("--help").stdout
    text = mansio_command("serve", "--help").stdout
    for words in ("--bind", "--port", "--config", "--log-level", "--log-format", "examples:"):
        assert words in text
    assert "mansio serve --port 5673" in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--port", "99999"),
            "mansio: port = '99999' (from --port): must be a whole number from 0 to 65535\n",
        ),
        (
            ("--log-format", "xml"),
            "mansio: log_format = 'xml' (from --log-format): must be one of text, json\n",
        ),
        (
            ("--config", "/nonexistent/mansio.toml"),
            "mansio: cannot read the file /nonexistent/mansio.toml: No such file or directory\n",
        ),
    ],
)
def test_bad_settings_are_one_line_and_exit_code_2(arguments: tuple[str, ...], line: str) -> None:
    done = mansio_command("serve", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_each_fault_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text("prot = 1\n")
    done = mansio_command("serve", "--config", str(file), MANSIO_CHANNEL_MAX="many")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"mansio: unknown key 'prot' (in {file}); did you mean 'port'?",
        "mansio: channel_max = 'many' (from environment variable MANSIO_CHANNEL_MAX):"
        " must be a whole number from 1 to 65535",
    ]


def test_an_unknown_option_is_refused() -> None:
    done = mansio_command("serve", "--prot", "1")
    assert done.returncode == 2
    assert "--prot" in done.stderr
