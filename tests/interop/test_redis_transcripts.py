"""The transcript of sessions is what the redis-server on this machine says, if it is one of version 7.0."""

import shutil
import subprocess

import pytest

from tests.interop.record_redis import record_file
from tests.protocol import resp_transcripts as transcripts

pytestmark = pytest.mark.interop


def test_the_server_still_says_so() -> None:
    program = shutil.which("redis-server")
    if program is None or b"v=7.0." not in subprocess.check_output([program, "--version"]):
        pytest.skip("needs redis-server 7.0")
    path = transcripts.FOLDER / "session.txt"
    known, found = transcripts.read(path), record_file(path)
    for before, now in zip(known, found, strict=True):
        assert now.heard == before.heard, now.title
