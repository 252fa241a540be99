"""When the log's process looks for requests instead of sleeping."""

from mansio.log.patience import SOON_MIN, SPIN_NS, Patience


def test_looks_only_when_several_in_a_row_came_soon() -> None:
    patience = Patience()
    for _ in range(SOON_MIN):
        assert patience.spin_ns == 0, "not known to be worth it"
        patience.waited(SPIN_NS - 1)
    assert patience.spin_ns == SPIN_NS
    patience.waited(1)
    assert patience.spin_ns == SPIN_NS


def test_one_that_comes_late_ends_it() -> None:
    patience = Patience()
    for _ in range(SOON_MIN):
        patience.waited(0)
    patience.waited(SPIN_NS)
    assert patience.spin_ns == 0


def test_requests_in_pairs_do_not_start_it() -> None:
    patience = Patience()
    for _ in range(10):
        patience.waited(1000)
        assert patience.spin_ns == 0
        patience.waited(1_000_000)
        assert patience.spin_ns == 0
