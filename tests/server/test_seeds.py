"""What a broker has from its settings when it starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from mansio.admin.passwords import check_password
from mansio.config import Config
from mansio.core.rights import EVERYTHING
from mansio.server.seeds import sow
from mansio.server.storage import StorageError
from tests.core.play import make_broker


def file(folder: Path, document: Any) -> str:
    path = folder / "definitions.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_a_first_user_in_the_place_of_guest() -> None:
    broker = make_broker()
    sow(broker, Config(default_user="root", default_password="hunter2"))
    (root,) = broker.users
    assert (root.name, root.tags) == ("root", ("administrator",))
    assert check_password(root.password_hash, root.hashing, "hunter2").right
    assert broker.users.rights("root", "/").permission == EVERYTHING
    sow(broker, Config(default_user="late", default_password="x"))
    assert [user.name for user in broker.users] == ["root"]


def test_guest_may_get_another_password() -> None:
    broker = make_broker()
    sow(broker, Config(default_user="guest", default_password="hunter2"))
    (guest,) = broker.users
    assert check_password(guest.password_hash, guest.hashing, "hunter2").right


def test_a_first_user_beside_definitions(tmp_path: Path) -> None:
    broker = make_broker()
    definitions = file(tmp_path, {"users": [{"name": "app", "password": "a"}]})
    sow(broker, Config(default_user="root", default_password="hunter2", definitions=definitions))
    assert [user.name for user in broker.users] == ["root", "app"]


def test_definitions_without_users_leave_guest(tmp_path: Path) -> None:
    broker = make_broker()
    sow(broker, Config(definitions=file(tmp_path, {"queues": []})))
    assert [user.name for user in broker.users] == ["guest"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            Config(default_user="root", default_password_file="/none"),
            "cannot read default_password_file /none: No such file or directory",
        ),
        (
            Config(default_user="root", default_password_file="/dev/null"),
            "default_user: the password must not be empty",
        ),
        (
            Config(default_user="a\tb", default_password="hunter2"),
            "default_user: the name of a user must have characters, all of them printable",
        ),
        (
            Config(definitions="/none"),
            "cannot read the definitions /none: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_is_told(config: Config, text: str) -> None:
    broker = make_broker()
    with pytest.raises(StorageError) as caught:
        sow(broker, config)
    assert str(caught.value) == text
    assert broker.users.implied
