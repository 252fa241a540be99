"""What always holds of messages that are paged out: part of `check`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mansio.core.check_topology import InvariantBroken

if TYPE_CHECKING:
    from mansio.core.broker import Broker
    from mansio.core.paging import Pages, Paging
    from mansio.core.queue import Queue
    from mansio.core.run import Run


def check_paging(broker: "Broker", live: "Iterable[Run]") -> None:
    """`live`: every run that is not settled everywhere."""
    paging = broker.paging
    held_bytes = leaving_bytes = 0
    homes: dict[Pages, int] = {}
    for run in live:
        held_bytes += len(run.data)
        if run.data:
            _check_resident(run, paging, homes)
        else:
            _check_paged_out(run)
        if run in paging._leaving:
            leaving_bytes += len(run.data)
    if held_bytes != paging.resident_bytes:
        raise InvariantBroken(f"{held_bytes} bytes are held, {paging.resident_bytes} are counted")
    if leaving_bytes != paging.leaving_bytes:
        raise InvariantBroken(f"{leaving_bytes} bytes leave, {paging.leaving_bytes} are counted")
    if set(homes) != set(paging._filled):
        raise InvariantBroken(f"{len(homes)} queues may page out, {len(paging._filled)} are known")
    for pages, count in homes.items():
        data_bytes = sum(run.data_bytes for run in pages.held)
        if len(pages.held) != count or pages.data_bytes != data_bytes:
            raise InvariantBroken(
                f"pages count {pages.data_bytes} bytes in {len(pages.held)} runs: "
                f"{data_bytes} bytes in {count} runs"
            )
    for run in paging.loading._under_way:
        if run.data or not run.live:
            raise InvariantBroken(f"a run of {run.count} is to be read that need not be")


def _check_resident(run: "Run", paging: "Paging", homes: "dict[Pages, int]") -> None:
    if len(run.data) != run.data_bytes:
        raise InvariantBroken(f"a run of {run.data_bytes} bytes has {len(run.data)}")
    home = run.home
    if home is None:
        return
    held = run in home.held
    if run in paging._kept:
        if held:
            raise InvariantBroken(f"a run of {run.count} is kept in memory and may go")
        return
    if held and run in paging._leaving:
        raise InvariantBroken(f"a run of {run.count} leaves and may go")
    if held != (run.bucket is not None or (paging.spooling and not run.places)):
        if run not in paging._leaving:
            raise InvariantBroken(f"a run of {run.count} may go: {held}, and should not")
    if held:
        homes[home] = homes.get(home, 0) + 1


def _check_paged_out(run: "Run") -> None:
    if run.bucket is None:
        raise InvariantBroken(f"a run of {run.count} is paged out and in no log")
    if run.home is None or run in run.home.held:
        raise InvariantBroken(f"a run of {run.count} is paged out and may go")


def is_awaited(queue: "Queue", broker: "Broker") -> bool:
    """Whether the queue stops at its head for a good reason: that is being read, or cannot be."""
    run = queue.ready[0].run
    loading = broker.paging.loading
    if run.data:
        return False
    if run in loading.unreadable:
        return True
    return run in loading._under_way and queue in loading._queues.get(run, ())
