"""What the log has of a stream that its entries do not tell: its last id, how many entries there have been."""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mansio.core.stream import Stream

MARK: Final = "mark stream"
"""The change of topology that says what of a stream its entries do not tell."""


def marks_of(stream: "Stream") -> dict[str, Any]:
    """What a record says of a stream that its entries do not."""
    return {
        "last": stream.last_id,
        "deleted": stream.deleted_id,
        "added": stream.added,
        "released": stream.released,
    }


def set_marks(stream: "Stream", marks: dict[str, Any]) -> None:
    """The same, back from a record."""
    stream.last_id, stream.deleted_id = marks["last"], marks["deleted"]
    stream.added, stream.released = marks["added"], marks["released"]
