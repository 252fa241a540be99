"""The quick start of the README works as it stands, but for the port."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import BrokerProcess

README = Path(__file__).parent.parent / "README.md"


def test_publisher_and_consumer_of_the_readme(broker: BrokerProcess) -> None:
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["publish.py", "consume.py"]
    for _, code in blocks:
        code, count = re.subn(r'\("localhost"\)', f'("{broker.host}", {broker.port})', code)
        assert count == 1
        code = code.replace("inactivity_timeout=5", "inactivity_timeout=0.3")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello, Mansio!\n"
