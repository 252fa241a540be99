"""Commands on which the two servers once parted: always played, since chance may not find them again. A line is a
client's number and what it says; a blank line begins anew."""

from typing import Final

from tests.differential.steps import Scenario, Step, may_wait

CLIENTS: Final = 4

TEXT: Final = """
0 SELECT 9223372036854775807
0 MOVE k 2147483648
0 EXEC x
0 COPY nothing nothing DB 15 REPLACE
0 PUBSUB CHANNELS a b
0 PUBSUB SHARDCHANNELS a b

0 HELLO 3 SETNAME bob FOO
0 CLIENT GETNAME
0 HELLO 3 SETNAME ann SETNAME
0 CLIENT GETNAME

0 LMPOP 3 l1 l1 l1 RIGHT COUNT -1 3
0 BLMPOP 0 1 l1 LEFT COUNT -2 x
1 BLPOP l1 0x10
0 LPUSH l1 a

0 LPUSH l3 a b
0 RENAME l3 l1
0 DEL l1

1 BLMPOP 0 3 x1 l1 l1 RIGHT
0 RPUSH l1 a b b
2 RENAME l1 x1

3 LPUSH l3 a 007
0 WATCH l3
0 LREM l3 3 c
0 MULTI
0 EXEC

0 XADD x2 1-1 f v
0 RPUSH x2 b
0 SET x2 10
0 RPUSH l1 a
0 LPOP l1
0 XADD l1 1-1 f v
0 RENAME l1 x1
0 FLUSHALL
0 KEYS *

0 XGROUP CREATE x1 g1 0 MKSTREAM
2 XADD x1 41-1 f v
2 XREADGROUP GROUP g1 c1 STREAMS x1 >
2 XADD x1 42-1 f v
3 XREADGROUP GROUP g1 c1 NOACK STREAMS x1 >
3 XADD x1 43-1 f v
3 XREADGROUP GROUP g1 c1 STREAMS x1 18446744073709551615-18446744073709551615
3 XAUTOCLAIM x1 g1 c 0 0 COUNT 1.5
3 XAUTOCLAIM l2 g1 c 9223372036854775807 5-1 COUNT 0

1 XREAD BLOCK 9223372036854775807 STREAMS x1 $
0 XADD x1 7-1 f v
1 XGROUP CREATE x1 g1 0 ENTRIESREAD 9223372036854775807
1 XREADGROUP GROUP g1 c1 STREAMS x1 >
1 XINFO GROUPS x1

0 XADD x1 1-0 a b
0 XADD x1 3-0 a b
0 XDEL x1 3-0
0 XSETID x1 2-0
0 XADD x1 2-1 a b
0 XSETID x1 2-1 ENTRIESADDED 9223372036854775807
0 XADD x1 5-1 a b
0 XINFO STREAM x1

1 XREAD BLOCK 0 STREAMS x2 $
2 XREAD BLOCK 0 STREAMS x2 0
0 XADD x1 5-1 a b
0 RENAME x1 x2
0 XADD x2 6-1 a b

0 XGROUP CREATE x2 g1 0 MKSTREAM
1 XREADGROUP GROUP g1 c1 BLOCK 0 STREAMS x2 >
0 XGROUP CREATE x1 g1 0 MKSTREAM
0 XADD x1 5-1 a b
0 RENAME x1 x2
0 XPENDING x2 g1
1 XREADGROUP GROUP g1 c1 BLOCK 0 STREAMS x2 >
0 XADD x1 6-1 a b
0 RENAME x1 x2

0 XGROUP CREATE x2 g1 0 MKSTREAM
1 XREADGROUP GROUP g1 c1 BLOCK 0 STREAMS x2 >
0 MULTI
0 DEL x2
0 XGROUP CREATE x2 g1 0 MKSTREAM
0 XADD x2 8-1 a b
0 EXEC

1 BLMOVE l3 l1 RIGHT RIGHT 0
3 LPUSH l1 1 007
3 RPUSH l3 1e3
3 LPUSH l1 inf

2 BLMPOP 0 2 l3 l2 RIGHT
1 MULTI
1 RPUSH l3 x 007
1 DEL l3
1 RPUSH l2 b inf -1
1 LPUSH l1 0 -9
1 BLMOVE l1 l3 left LEFT 0
1 EXEC
"""


def scenarios(protocol: int) -> list[Scenario]:
    """All of them, by clients that speak this version."""
    return [
        Scenario((protocol,) * CLIENTS, frozenset(), [_step(line) for line in part.splitlines()])
        for part in TEXT.strip().split("\n\n")
    ]


def _step(line: str) -> Step:
    client, *words = line.split()
    args = tuple(word.encode() for word in words)
    return Step(int(client), args, "blocks" if may_wait(args) else "ask")
