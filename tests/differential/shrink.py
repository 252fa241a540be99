"""Fewer steps that lead to the same difference (delta debugging: leave out halves, then quarters, then less)."""

from collections.abc import Callable

from tests.differential.runner import GROUP, Different
from tests.differential.steps import Scenario, Step

Play = Callable[[Scenario], Different | None]


def shrunk(play: Play, scenario: Scenario, different: Different, tries: int = 400) -> Scenario:
    """The scenario without what is not needed for a difference of this kind."""
    steps = scenario.steps[: different.at + GROUP]
    name = different.step.name()

    def is_wrong(some: list[Step]) -> bool:
        found = play(scenario.with_steps(some))
        return found is not None and found.step.name() == name

    if not is_wrong(steps):
        return scenario.with_steps(steps)  # it does not come again
    size = max(1, len(steps) // 2)
    while tries > 0:
        at, less = 0, False
        while at < len(steps) and tries > 0:
            without = steps[:at] + steps[at + size :]
            tries -= 1
            if without and is_wrong(without):
                steps, less = without, True
            else:
                at += size
        if size == 1 and not less:
            break
        size = max(1, size // 2)
    return scenario.with_steps(steps)
