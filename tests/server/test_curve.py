"""The keys of ZeroMQ's CURVE when a broker starts."""

import logging
import sys
from pathlib import Path

import pytest
import zmq

from mansio.config import Config
from mansio.config_values import curve_key
from mansio.server.curve import CurveError, open_curve, tell
from tests.conftest import BrokerStarter


def key_file(folder: Path, text: str) -> str:
    path = folder / "broker.key"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def opened(path: str, users: tuple[tuple[bytes, str], ...] = ()) -> object:
    return open_curve(Config(zmq_curve_secret_key_file=path, zmq_curve_users=users))


@pytest.mark.parametrize("form", ["%s", "%s\n", '# ...\nmetadata\ncurve\n    secret-key = "%s"\n'])
def test_a_file_with_a_key(tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture) -> None:
    public, secret = zmq.curve_keypair()
    users = ((curve_key(public.decode()), "ann"),)
    config = Config(
        zmq_curve_secret_key_file=key_file(tmp_path, form % secret.decode()), zmq_curve_users=users
    )
    curve = open_curve(config)
    assert curve is not None and curve.public_key == curve_key(public.decode())
    assert curve.users == {curve.public_key: "ann"} and not caplog.records
    with caplog.at_level(logging.INFO):
        tell(curve, config)
    assert public.decode() in caplog.text and secret.decode() not in caplog.text


def test_without_a_file_there_is_no_curve() -> None:
    assert opened("") is None


@pytest.mark.parametrize("text", ["", "x" * 39, "#" * 40, 'secret-key = ""', "a b"])
def test_a_file_without_a_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(CurveError, match=r"broker\.key has no key of 40 characters"):
        opened(key_file(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CurveError, match=r"cannot read .*nothing: No such file"):
        opened(str(tmp_path / "nothing"))
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CurveError, match="it is no text"):
        opened(str(path))


def test_a_key_that_others_can_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = key_file(tmp_path, zmq.curve_keypair()[1].decode())
    Path(path).chmod(0o644)
    opened(path)
    assert "other users of this machine can read the secret key" in caplog.text


def test_without_pynacl_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mansio.protocol.zmtp.curve", None)
    with pytest.raises(CurveError, match=r"needs PyNaCl: pip install 'mansio\[curve\]'"):
        opened("any")


def test_a_broker_does_not_start_with_a_bad_key(
    start_broker: BrokerStarter, tmp_path: Path
) -> None:
    path = key_file(tmp_path, "nonsense")
    broker = start_broker.spawn("--port", "0", MANSIO_ZMQ_CURVE_SECRET_KEY_FILE=path)
    assert broker.process.wait(10) == 1
    (line,) = broker.log_text().splitlines()
    assert "zmq_curve_secret_key_file" in line and "nonsense" not in line
