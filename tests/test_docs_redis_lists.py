"""The snippets of docs/redis-lists.md work as they stand but for the ports, one after the other."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BrokerStarter

PAGE = (Path(__file__).parent.parent / "docs" / "redis-lists.md").read_text()
SNIPPETS = [textwrap.dedent(each) for each in re.findall(r"( *```python\n.*?```)", PAGE, re.DOTALL)]
PUSH, DECLARE, CONSUME, HEAD, RESERVE = (
    each.removeprefix("```python\n").removesuffix("```") for each in SNIPPETS
)


def test_snippets(start_broker: BrokerStarter, capsys: pytest.CaptureFixture[str]) -> None:
    broker = start_broker(redis=True)
    names: dict[str, Any] = {}
    exec(PUSH.replace("6379", str(broker.redis_port)), names)
    exec(DECLARE.replace('("localhost")', f'("localhost", {broker.port})'), names)
    exec(CONSUME, names)
    exec(HEAD, names)
    exec(RESERVE, names)
    assert capsys.readouterr().out == "b'a'\nb'b'\nb'c'\n"
    r, channel = names["r"], names["channel"]
    r.rpush("orders", "first", "second")
    assert channel.basic_get("orders", auto_ack=True)[2] == b"first"
    assert r.lrange("tasks", 0, -1) == [b"e", b"d"]
    names["connection"].close()
