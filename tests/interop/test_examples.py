"""Every program in examples/ runs against a real broker, and prints what it promises."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT, BrokerProcess

EXAMPLES = ROOT / "examples"
SECONDS_MAX = 30

RPC = """\
84 / 2, 3, 4 = [42.0, 28.0, 21.0]
1 / 0: division by zero
"""

PUBLISH_SUBSCRIBE = """\
ada heard: it rains
ada heard: it stops
grace heard: it rains
grace heard: it stops
"""

ROUTING = """\
pager has 1:
  error: disk is on fire
archive has 2:
  info: started
  error: disk is on fire
"""

TOPICS = """\
*.kitchen.*: temperature.kitchen.north, humidity.kitchen.sink
temperature.#: temperature.kitchen.north, temperature.attic
#: temperature.kitchen.north, humidity.kitchen.sink, temperature.attic
"""

CONFIRMS = """\
safe: 10 EUR
safe: 20 EUR
rejected, the queue is full: 30 EUR
returned, no such queue: 40 EUR
"""

HAND_OFF = """\
crashed before the commit: orders 1, invoices 0
committed: orders 0, invoices 1
invoice for 3 chairs
"""

DELAYED_TASKS = """\
in 600 ms: drink
in 300 ms: stretch
in 0 ms: start working
now: start working
now: stretch
now: drink
"""

RETRY = """\
to ada: attempt 1 failed, the mail server does not answer
to nobody: attempt 1 failed, the mail server does not answer
to ada: sent at attempt 2
to nobody: attempt 2 failed, the mail server does not answer
to nobody: attempt 3 failed, the mail server does not answer
to nobody: attempt 4 failed, the mail server does not answer
to nobody: given up
at least 700 ms later: True
"""

RECEIPTS = """\
order 1: acked in example.orders by kitchen, deliveries: 1
order 2: rejected in example.orders by kitchen, deliveries: 1
"""

CONTENT_ROUTING = """\
express   gets what matches  properties.priority >= 5
large     gets what matches  body.total > 1000 && body.currency == "EUR"
vip       gets what matches  headers.region == "eu" && "vip" in body.customer.tags
refused: body.total > 1000 &&
    PRECONDITION_FAILED - invalid expression: line 1, column 21: Syntax error: mismatched input '<EOF>'
express   has orders [1, 4]
large     has orders [2]
vip       has orders [2]
unmatched has orders [3]
"""

EVENT_LOG = """\
from the first on: 0 cart made
from the first on: 1 book added
from the first on: 2 pen added
the shop starts at offset 0
shop: 0 cart made
shop: 1 book added
shop: 2 pen added
the shop starts at offset 3
shop: 3 paid
of the last hour: cart made, book added, pen added, paid
"""

CONSUMER_GROUP = """\
ada: order 0, offset 0
ada dies with order 2
bob: order 1, offset 1
bob: order 2 again, offset 2
bob: order 3, offset 3
bob: order 4, offset 4
example.billing is 0 entries behind
example.audit is 5 entries behind
"""

PARTITIONED_ORDERS = """\
tea: partitions by member: [4]
milk: partitions by member: [2, 2]
cake: partitions by member: [4]
every customer was served in order: True
"""

NUMBERED_PRODUCER = """\
published: 1 2 3
published: 2 3 4
offset 0: reading 1
offset 1: reading 2
offset 2: reading 3
offset 3: reading 4
"""

OUTPUT = {
    "confirms": CONFIRMS,
    "consumer_group": CONSUMER_GROUP,
    "content_routing": CONTENT_ROUTING,
    "delayed_tasks": DELAYED_TASKS,
    "event_log": EVENT_LOG,
    "hand_off": HAND_OFF,
    "numbered_producer": NUMBERED_PRODUCER,
    "partitioned_orders": PARTITIONED_ORDERS,
    "publish_subscribe": PUBLISH_SUBSCRIBE,
    "receipts": RECEIPTS,
    "retry": RETRY,
    "routing": ROUTING,
    "rpc": RPC,
    "topics": TOPICS,
}


def run(name: str, broker: BrokerProcess) -> str:
    """What `python examples/NAME.py URL` prints."""
    url = f"amqp://guest:guest@{broker.host}:{broker.port}"
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", url],
        capture_output=True, text=True, timeout=SECONDS_MAX, cwd=EXAMPLES,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", OUTPUT)
def test_example(name: str, broker: BrokerProcess) -> None:
    assert run(name, broker) == OUTPUT[name]
    assert run(name, broker) == OUTPUT[name]  # it left nothing behind


def test_work_queue(broker: BrokerProcess) -> None:
    first, *others = run("work_queue", broker).splitlines()
    assert first == "a worker died with: resize picture 0"
    assert sorted(others) == [f"done: resize picture {number}" for number in range(6)]


def test_every_example_is_tested_and_listed() -> None:
    programs = {path.stem for path in EXAMPLES.glob("*.py")}
    assert programs == OUTPUT.keys() | {"work_queue"}
    listed = (EXAMPLES / "README.md").read_text()
    assert [name for name in programs if f"[{name}.py]({name}.py)" not in listed] == []
