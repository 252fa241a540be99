"""The how-to pages in docs/clients as programs: their files, commands and promised output."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, BrokerProcess

SECONDS_MAX = 40.0
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ADDRESS = re.compile(r"amqp://(guest:guest@)?localhost(:5672)?")


class Page:
    """One page, with its files laid out in `folder` and the packages that it wants in `bin`."""

    def __init__(self, name: str, folder: Path, bin: Path, broker: BrokerProcess) -> None:
        text = (ROOT / "docs/clients" / f"{name}.md").read_text(encoding="utf-8")
        self.address = f"amqp://guest:guest@{broker.host}:{broker.port}"
        self.blocks = BLOCK.findall(ADDRESS.sub(self.address, text))
        self.folder = folder
        self.environ = os.environ | {
            "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder)
        }  # fmt: skip
        for kind, code in self.blocks:
            if kind == "python" and (named := re.match(r"# (\w+\.py)\n", code)):
                (folder / named[1]).write_text(code, encoding="utf-8")

    @property
    def commands(self) -> list[str]:
        """What is to be typed, in order."""
        return [line for kind, code in self.blocks if kind == "sh" for line in code.splitlines()]

    @property
    def output(self) -> str:
        """What is promised to be printed."""
        (text,) = (code for kind, code in self.blocks if kind == "text")
        return text

    def run(self, command: str) -> str:
        """What a command of the page prints."""
        assert command in self.commands
        done = subprocess.run(
            command.split(), cwd=self.folder, env=self.environ, capture_output=True, text=True,
            timeout=SECONDS_MAX,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, command: str) -> "Background":
        """A command of the page that goes on by itself."""
        words = ADDRESS.sub(self.address, command).split()
        assert " ".join(words) in self.commands
        return Background(words, self.folder, self.environ)


class Background:
    """A worker; its output is kept."""

    def __init__(self, words: list[str], folder: Path, environ: dict[str, str]) -> None:
        self.path = folder / "output.txt"
        self.output = self.path.open("w")
        self.process = subprocess.Popen(
            words, cwd=folder, env=environ, stdin=subprocess.DEVNULL,
            stdout=self.output, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()

    def text(self) -> str:
        """All that it has printed."""
        return self.path.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, *texts: str) -> str:
        """All that it has printed, when all of `texts` are there; fails when time is up or it has ended."""
        deadline = time.monotonic() + SECONDS_MAX
        while not all(text in self.text() for text in texts):
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"none of {texts} in:\n{self.text()}")
            time.sleep(0.05)
        return self.text()
