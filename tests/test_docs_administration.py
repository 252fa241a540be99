"""The commands of docs/administration.md, run as they stand, print what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pika
import pytest

from tests.conftest import BrokerStarter

PAGE = Path(__file__).parent.parent / "docs" / "administration.md"

pytestmark = pytest.mark.process


def blocks(page: str) -> list[str]:
    return re.findall(r"```console\n(.*?)```", page, re.DOTALL)


def run(block: str, folder: Path) -> str:
    """The block with what its commands print."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MANSIO_")}
    environ["MANSIO_DATA_DIR"] = str(folder / "data")
    shown = ""
    for line in block.splitlines():
        if not line.startswith("$ "):
            continue
        command = line[2:].replace("mansio", f"{sys.executable} -m mansio", 1)
        done = subprocess.run(
            command,
            shell=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environ,
        )
        assert done.returncode == 0, done.stdout
        output = re.sub(r"127\.0\.0\.1:\d{4,5}\b", "127.0.0.1:50000", done.stdout)
        shown += f"{line}\n" + re.sub(r" +$", "", output, flags=re.MULTILINE)
    return shown


def play(page: str, folder: Path, start_broker: BrokerStarter) -> str:
    """The page with what a running broker answers."""
    for name in ("ann", "app", "sensor"):
        (folder / f"{name}.password").write_text(f"{name}'s secret")
    broker = start_broker("--data-dir", str(folder / "data"))
    connections = []
    for block in blocks(page):
        if "connection list" in block:
            login = pika.PlainCredentials("ann", "ann's secret")
            parameters = pika.ConnectionParameters("127.0.0.1", broker.port, credentials=login)
            connections.append(pika.BlockingConnection(parameters))
        page = page.replace(f"```console\n{block}```", f"```console\n{run(block, folder)}```")
    return page


def test_the_page_shows_what_commands_print(tmp_path: Path, start_broker: BrokerStarter) -> None:
    page = PAGE.read_text()
    assert play(page, tmp_path, start_broker) == page
