"""The programs of docs/tls.md work as they stand, but for the port, with what `mansio tls dev-ca` makes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BrokerStarter

PAGE = (Path(__file__).parent.parent / "docs" / "tls.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
PRINTED = {"tls_hello.py": "Hello, TLS!\n", "tls_external.py": "logged in without a password\n"}


def mansio(folder: Path, *arguments: str) -> None:
    """Run a command of the page."""
    subprocess.run([sys.executable, "-m", "mansio", *arguments], cwd=folder, check=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_the_page(
    start_broker: BrokerStarter, tmp_path: Path, free_port: int, name: str
) -> None:
    mansio(tmp_path, "tls", "dev-ca", "--client", "ann")
    made, data = tmp_path / "mansio-tls", str(tmp_path / "data")
    options = ["--data-dir", data, "--tls-port", str(free_port)]
    options += ["--tls-cert", str(made / "server.pem"), "--tls-key", str(made / "server.key")]
    if "external" in name:
        options += ["--tls-ca", str(made / "ca.pem"), "--tls-verify", "required"]
    start_broker(*options)
    mansio(tmp_path, "user", "add", "ann", "--no-password", "--data-dir", data)
    mansio(tmp_path, "permission", "set", "ann", ".*", ".*", ".*", "--data-dir", data)
    code = PROGRAMS[name].replace("5671", str(free_port))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, PRINTED[name]), done.stderr
