"""Virtual environments and folders of modules for third-party packages that are not among this project's own."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "build" / "venvs"


def venv(*requirements: str) -> Path:
    """The bin folder of an environment with these packages, made once; skips where they cannot be had."""
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    name = requirements[0].partition("=")[0].partition("[")[0]
    place = FOLDER / f"{name}-{key}"
    ready = place / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        pip = [place / "bin/python", "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        done = subprocess.run([*pip, *requirements], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"cannot install {' '.join(requirements)}: {done.stderr.strip()[-300:]}")
        ready.touch()
    return place / "bin"


def node_packages(*requirements: str) -> Path:
    """A folder whose node_modules has these, made once; skips where they or Node cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    key = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    place = FOLDER / f"node-{key}"
    ready = place / "ready"
    if not ready.exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_text("{}\n")
        line = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *requirements]
        done = subprocess.run(line, capture_output=True, text=True, cwd=place)
        if done.returncode != 0:
            pytest.skip(f"cannot install {' '.join(requirements)}: {done.stderr.strip()[-300:]}")
        ready.touch()
    return place
