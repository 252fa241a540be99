"""What the properties of a message ask for when it is published, and whether they may: see `core.letters.Wishes`."""

from typing import Final

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.codec.amqp_values import CodecError
from mansio.core.errors import PreconditionFailed
from mansio.core.letters import Wishes
from mansio.core.names import REPLY_TO
from mansio.core.users import IMPERSONATOR, User
from mansio.protocol.amqp.content import Content, check_copies, copies, expiration_ms
from mansio.protocol.amqp.delaying import delay_ms, spend_delay
from mansio.protocol.amqp.marks import marks_of_moved
from mansio.protocol.amqp.replies import PRECONDITION_FAILED, Refusal
from mansio.protocol.amqp.traits import kind_of

_PUBLISH: Final = m.BasicPublish.ID


def check_properties(properties: Properties, user: User) -> None:
    """Whether a message of this user may have these properties; Refusal."""
    if properties.user_id not in (None, user.name) and IMPERSONATOR not in user.tags:
        text = f"user_id property set to '{properties.user_id}' but authenticated user was '{user.name}'"
        raise Refusal(PRECONDITION_FAILED, text, _PUBLISH)
    if properties.expiration is not None:
        expiration_ms(properties.expiration)
    if properties.delivery_mode not in (None, 1, 2):
        text = f"invalid message: {{delivery_mode_unknown,{properties.delivery_mode}}}"
        raise Refusal(PRECONDITION_FAILED, text, _PUBLISH)


def wishes_of(frames: bytes, user: User, frame_max: int) -> Wishes:
    """Of a message as runs hold it; PreconditionFailed where they make no sense."""
    content = Content.parse(frames)
    try:
        properties = content.properties()
        check_properties(properties, user)
        headers = properties.headers or {}
        check_copies(headers)
    except (CodecError, Refusal) as error:
        raise PreconditionFailed(error.text) from None
    if properties.reply_to == REPLY_TO:
        raise PreconditionFailed("fast reply consumer does not exist")
    delay = delay_ms(headers)
    plain = content
    if delay:  # with its BCC header: it is looked at again when it is due
        content = content.with_properties(spend_delay(content.raw_properties, delay))
    elif "BCC" in headers:
        content = content.without_header("BCC")
    if content is not plain:
        frames = content.frames(0, frame_max)
    keys = copies(headers)
    return Wishes(frames, *kind_of(properties), delay, keys, marks_of_moved(properties))
