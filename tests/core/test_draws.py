"""Random numbers of the core: the published ones of SplitMix64, and even ones below a bound."""

from collections import Counter

from mansio.core.draws import Draws, mix


def test_the_numbers_are_those_of_splitmix64() -> None:
    draws = Draws(1234567)  # published with the Java and C versions of the algorithm
    assert [draws.next() for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_the_same_seed_draws_the_same_and_only_64_bits_of_it_count() -> None:
    first, second, other = Draws(7), Draws(7 + (1 << 64)), Draws(8)
    drawn = [first.below(1000) for _ in range(20)]
    assert drawn == [second.below(1000) for _ in range(20)]
    assert drawn != [other.below(1000) for _ in range(20)]


def test_every_number_below_a_bound_comes_about_as_often() -> None:
    draws = Draws(1)
    counts = Counter(draws.below(7) for _ in range(7000))
    assert sorted(counts) == list(range(7))
    assert all(850 < count < 1150 for count in counts.values())
    assert {Draws(seed).below(1) for seed in range(100)} == {0}


def test_mixing_loses_nothing() -> None:
    assert len({mix(value) for value in range(10_000)}) == 10_000
    assert len({mix(value << 40) for value in range(10_000)}) == 10_000
