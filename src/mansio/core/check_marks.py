"""What always holds for messages that ask for more than being delivered: of the messages in a queue that holds ids each
is counted, and whoever owes a receipt still has the message.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mansio.core.check_topology import InvariantBroken
from mansio.core.deduplication import Present, Window

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.queue import Queue
    from mansio.core.run import Run


def check_marks(broker: "Broker", marked: "Iterable[tuple[Queue, Run]]") -> None:
    """`marked`: each message with marks that is in a queue, or was delivered from it and is not settled."""
    ids: dict[Queue, Counter[str]] = {}
    owed = 0
    owing: set[Run] = set()
    for queue, run in marked:
        marks = run.marks
        assert marks is not None
        if run.count != 1:
            raise InvariantBroken(f"a run of {run.count} messages has marks")
        if marks.id is not None:
            ids.setdefault(queue, Counter())[marks.id] += 1
        if marks.reply_to is not None and not queue.deleted and not queue.hidden:
            if queue.id not in marks.owed:
                raise InvariantBroken(f"queue {queue.name} has told of a message that it has")
            owed += 1
            owing.add(run)
    if owed != broker.receipts.owed or owed != sum(_owed(run) for run in owing):
        raise InvariantBroken(f"{broker.receipts.owed} receipts are owed, for {owed} messages")
    for host in broker.vhosts.values():
        for queue in host.queues.values():
            found = ids.get(queue, Counter())
            if isinstance(queue.dedup, Present) and queue.dedup.counts != found:
                raise InvariantBroken(
                    f"queue {queue.name} holds ids {queue.dedup.counts}, its messages {found}"
                )
            _check_window(queue.dedup, f"queue {queue.name}")
        for exchange in host.exchanges.values():
            _check_window(exchange.dedup, f"exchange {exchange.name}")


def _owed(run: "Run") -> int:
    return 0 if run.marks is None else len(run.marks.owed)


def _check_window(window: Present | Window | None, owner: str) -> None:
    if isinstance(window, Window) and len(window.ids) > window.size:
        raise InvariantBroken(f"{owner} remembers {len(window.ids)} ids of {window.size}")
