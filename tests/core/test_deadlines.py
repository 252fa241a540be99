"""Deadlines: who is called when."""

from mansio.core.deadlines import NEVER_MS, Deadlines


class Alarm:
    """Keeps when it was called; `again`: the times that it asks for then."""

    def __init__(self, deadlines: Deadlines, again: list[int] | None = None) -> None:
        self.deadline_ms = NEVER_MS
        self.called: list[int] = []
        self._deadlines = deadlines
        self._again = again or []

    def due(self, now_ms: int) -> None:
        self.called.append(now_ms)
        if self._again:
            self._deadlines.at(self._again.pop(0), self)


def test_things_are_called_when_their_time_has_come() -> None:
    deadlines = Deadlines()
    first, second = Alarm(deadlines), Alarm(deadlines)
    deadlines.at(20, second)
    deadlines.at(10, first)
    assert deadlines.next_ms == 10
    deadlines.fire(9)
    assert (first.called, second.called) == ([], [])
    deadlines.fire(10)
    assert (first.called, second.called, deadlines.next_ms) == ([10], [], 20)
    deadlines.fire(25)
    assert (first.called, second.called, deadlines.next_ms) == ([10], [25], NEVER_MS)


def test_an_earlier_time_counts_and_a_later_one_does_not() -> None:
    deadlines = Deadlines()
    alarm = Alarm(deadlines)
    deadlines.at(20, alarm)
    deadlines.at(30, alarm)
    deadlines.at(10, alarm)
    deadlines.fire(10)
    deadlines.fire(40)
    assert alarm.called == [10]


def test_what_asks_again_for_a_time_that_has_passed_is_called_the_next_time() -> None:
    deadlines = Deadlines()
    alarm = Alarm(deadlines, [5, 50])
    deadlines.at(10, alarm)
    deadlines.fire(10)
    assert (alarm.called, deadlines.next_ms) == ([10], 5)
    deadlines.fire(11)
    assert (alarm.called, deadlines.next_ms) == ([10, 11], 50)


def test_things_of_one_time_are_called_in_the_order_in_which_they_asked() -> None:
    deadlines = Deadlines()
    order: list[int] = []

    class Named(Alarm):
        def __init__(self, name: int) -> None:
            super().__init__(deadlines)
            self.name = name

        def due(self, now_ms: int) -> None:
            order.append(self.name)

    for name in range(5):
        deadlines.at(7, Named(name))
    deadlines.fire(7)
    assert order == [0, 1, 2, 3, 4]
