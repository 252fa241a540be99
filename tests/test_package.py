"""The package: version, and the two forms of the codec."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mansio

ROOT = Path(__file__).parent.parent
CODECS = ["amqp", "resp"]


def codec_form(name: str, **environ: str) -> list[str]:
    clean = {k: v for k, v in os.environ.items() if k != "MANSIO_PURE"}
    done = subprocess.run(
        [sys.executable, "-c", f"import mansio.codec.{name} as a; print(a.COMPILED, a.__file__)"],
        env=clean | environ, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_version_is_that_of_pyproject() -> None:
    found = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found and found[1] == mansio.__version__


@pytest.mark.parametrize("name", CODECS)
def test_environment_chooses_the_pure_codec(name: str) -> None:
    compiled, file = codec_form(name, MANSIO_PURE="1")
    assert compiled == "False"
    assert file.endswith(f"{name}.py")


@pytest.mark.parametrize("name", CODECS)
def test_compiled_codec_is_used_where_it_could_be_built(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import setuptools, sys; setuptools.setup = lambda **k: None;"
         " import setup; print(setup.why_pure())"],
        cwd=ROOT, capture_output=True, text=True,
        env={k: v for k, v in os.environ.items() if k != "MANSIO_PURE"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compiled, _ = codec_form(name)
    assert (compiled == "True") == (done.stdout.strip() == "None"), done.stdout


def test_locked_requirements_name_no_address_and_have_hashes() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        text = file.read_text()
        assert not re.search(r"(https?|file):|--(extra-)?index-url|--find-links", text), file
        for line in text.splitlines():
            if re.match(r"\w", line):
                assert "==" in line and line.endswith("\\"), line
