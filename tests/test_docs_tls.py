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


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_the_page(
    start_broker: BrokerStarter, tmp_path: Path, free_port: int, name: str
) -> None:
    # The only user of a new broker is guest; the page's is another one.
    make = [sys.executable, "-m", "mansio", "tls", "dev-ca", "--client", "guest"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    files = {
        key: str(tmp_path / "mansio-tls" / f"{name}.pem")
        for key, name in (("CERT", "server"), ("CA", "ca"))
    }
    files["KEY"] = str(tmp_path / "mansio-tls" / "server.key")
    settings = {f"MANSIO_TLS_{key}": value for key, value in files.items()}
    verify = "required" if "external" in name else "none"
    start_broker(
        "--in-memory", MANSIO_TLS_PORT=str(free_port), MANSIO_TLS_VERIFY=verify, **settings
    )
    code = PROGRAMS[name].replace("5671", str(free_port)).replace("client-ann", "client-guest")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, PRINTED[name]), done.stderr
