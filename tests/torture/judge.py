"""The process of the oracle: reads the journal, keeps it in a file, and answers checks."""

from __future__ import annotations

import traceback
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from tests.torture.journal import read_block, read_file, write_file
from tests.torture.stream_oracle import StreamOracle


def main(journal: Pipe, verdicts: Pipe, path: str, reply_is_proof: bool) -> None:
    """Until the journal ends. The event `("check", n)` is answered by `(n, findings, counts)`."""
    oracle = StreamOracle(reply_is_proof)
    with Path(path).open("wb", buffering=1 << 20) as file:
        while True:
            try:
                block = journal.recv_bytes()
            except EOFError:
                return
            write_file(file, block)
            for name, *arguments in read_block(block):
                if name == "check":
                    verdicts.send((arguments[0], *oracle.check()))
                    continue
                try:
                    oracle.apply((name, *arguments))
                except Exception:
                    oracle.findings.append(f"ORACLE: {name}{arguments}: {traceback.format_exc()}")


def judge_file(path: Path, reply_is_proof: bool) -> tuple[list[str], dict[str, int]]:
    """Judges a journal that was kept."""
    oracle = StreamOracle(reply_is_proof)
    for event in read_file(path):
        if event[0] != "check":
            oracle.apply(event)
    return oracle.check()
