"""The programs of docs/content-routing.md work as they stand, but for the port, and its expressions are true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mansio.codec.amqp_properties import Properties
from mansio.protocol.amqp.content import Content
from mansio.protocol.amqp.message_view import MessageView
from mansio.protocol.expressions import Expressions
from tests.conftest import BrokerProcess

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "content-routing.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
(EXPRESSIONS,) = re.findall(r"```cel\n(.*?)```", PAGE, re.DOTALL)
(PRINTED,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_the_page(broker: BrokerProcess, name: str) -> None:
    code, count = re.subn(r'\("localhost"\)', f'("{broker.host}", {broker.port})', PROGRAMS[name])
    assert count == 1
    printed = {
        "content.py": PRINTED,
        "hash.py": "400 messages, those of one customer in one queue\n",
    }
    assert run(code) == printed[name]


@pytest.mark.parametrize("text", EXPRESSIONS.splitlines())
def test_an_expression_of_the_page(text: str) -> None:
    body = b'{"total": 120.5, "customer": {"country": "NL", "tags": ["vip"]}}'
    assert body.decode() in PAGE
    properties = Properties(headers={"region": "eu"}, priority=7)
    view = MessageView(Content(b"", body), properties, "shop", "order.new")
    assert Expressions().compile(text).matches(view)
