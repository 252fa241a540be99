"""Facts that belong beside every figure: machine, interpreter, versions."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import sysconfig
from datetime import date
from pathlib import Path

from bench.load import HERE


def cpu_model() -> str:
    """The processor's name as Linux gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def memory_gib() -> float:
    """Physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def interpreter_build(config_args: str | None, cflags: str | None, from_debian: bool) -> str:
    """How a CPython was built, from its sysconfig.

    Debian builds its interpreter with PGO and LTO on the usual architectures but keeps those flags
    out of sysconfig on purpose (changelog of python3, bug 934771), so its word counts instead.
    """
    args, flags = config_args or "", cflags or ""
    pgo = "--enable-optimizations" in args or "-fprofile-use" in flags
    lto = "--with-lto" in args or "-flto" in flags
    if from_debian and not (pgo or lto):
        return "Debian's build, with PGO and LTO"
    return f"own build, {'with' if pgo else 'without'} PGO, {'with' if lto else 'without'} LTO"


def python_text() -> str:
    """The interpreter that runs this, which is the one that runs Mansio."""
    build = interpreter_build(
        sysconfig.get_config_var("CONFIG_ARGS"),
        sysconfig.get_config_var("PY_CORE_CFLAGS"),
        sys.base_prefix == "/usr" and Path("/etc/debian_version").exists(),
    )
    return f"{platform.python_implementation()} {platform.python_version()} ({build})"


def package_version(name: str) -> str:
    """The installed version, or 'not installed'."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def codec_is_compiled(pure: bool) -> bool:
    """Whether a Mansio started here takes the compiled codec."""
    question = "import mansio.codec.amqp as codec; print(codec.__file__)"
    variables = dict(os.environ) | ({"MANSIO_PURE": "1"} if pure else {})
    done = subprocess.run(
        [sys.executable, "-c", question], env=variables, capture_output=True, text=True, check=False
    )
    return done.stdout.strip().endswith((".so", ".pyd"))


def mansio_text() -> str:
    """Mansio's version and the repository's commit, with a plus sign when files differ from it."""

    def git(*words: str) -> str:
        line = ["git", "-C", str(HERE.parent), *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        return "" if done.returncode else done.stdout.strip()

    version, name = package_version("mansio"), git("rev-parse", "--short", "HEAD")
    if not name:
        return version
    return f"{version} at {name}{'+' if git('status', '--porcelain') else ''}"


def facts() -> dict[str, str]:
    """All of it, in the order in which it is printed."""
    return {
        "Date": date.today().isoformat(),
        "Machine": f"{cpu_model()}, {os.cpu_count()} cores, {memory_gib():.0f} GiB, "
        f"Linux {platform.release()}",
        "Python": python_text(),
        "uvloop": package_version("uvloop"),
        "Cython": package_version("Cython"),
    }
