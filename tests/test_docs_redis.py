"""docs/compatibility.md names every Redis command, and the differences that the differential test knows."""

import re

from mansio.protocol.resp.table import COMMANDS
from tests.conftest import ROOT
from tests.differential.known import KNOWN

DOCUMENT = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
SECTION = DOCUMENT.partition("\n## Redis\n")[2].partition("\n## ")[0]


def test_every_command_is_in_the_table_once() -> None:
    table = SECTION.partition("\n### ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([A-Z.]+)`", row)]
    assert sorted(named) == sorted(name.decode() for name in COMMANDS)


def test_differences_are_those_that_the_differential_test_excuses() -> None:
    """To write them anew: print these lines."""
    begin, end = "<!-- redis-differences:begin -->\n", "<!-- redis-differences:end -->"
    quoted = SECTION.partition(begin)[2].partition(end)[0]
    assert quoted == "".join(f"- **{each.title}**: {each.reason}\n" for each in KNOWN)
