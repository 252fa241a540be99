"""Builds the codecs of AMQP, RESP and ZMTP with Cython where this machine can; otherwise the .py stay as they are.

One source, two forms: the modules in `SOURCES` are compiled in Cython's pure-Python mode. Nothing
in here may make an installation fail: every way out says in one line what happened.
Set MANSIO_PURE=1 to skip the build.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = {
    "mansio.codec.amqp": Path("src/mansio/codec/amqp.py"),
    "mansio.codec.resp": Path("src/mansio/codec/resp.py"),
    "mansio.codec.resp_fields": Path("src/mansio/codec/resp_fields.py"),
    "mansio.codec.resp_quick": Path("src/mansio/codec/resp_quick.py"),
    "mansio.codec.zmtp": Path("src/mansio/codec/zmtp.py"),
    "mansio.codec.zmtp_runs": Path("src/mansio/codec/zmtp_runs.py"),
}


def why_pure() -> str | None:
    """The reason why the codec stays pure Python, or None if it can be compiled."""
    if os.environ.get("MANSIO_PURE", "") not in ("", "0"):
        return "MANSIO_PURE is set"
    for source in SOURCES.values():
        if not source.exists():
            return f"{source} is not there"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not (shutil.which(compiler) or shutil.which("cc") or shutil.which("gcc")):
        return f"no C compiler ({compiler}) on this machine"
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists():
        return f"no Python.h in {include} (on Debian: apt install python3-dev)"
    try:
        import Cython  # noqa: F401
    except ImportError:
        return "Cython is not installed"
    return None


def extensions(*options: str) -> list[Extension]:
    """What is compiled, with these options of the C compiler."""
    return [
        Extension(module, [str(source)], extra_compile_args=list(options))
        for module, source in SOURCES.items()
    ]


class BuildCodec(build_ext):
    """Compiles the codec, or says why not; never fails the installation."""

    def run(self) -> None:
        reason = why_pure()
        if reason is None:
            reason = self.compile_codec()
        if reason is None:
            print(f"codec: compiled for Python {sysconfig.get_python_version()}", file=sys.stderr)
        else:
            self.extensions.clear()
            print(f"codec: pure Python ({reason}); `make codec` tries again", file=sys.stderr)

    def compile_codec(self) -> str | None:
        """Run Cython and the C compiler; the answer is None or why it did not work."""
        if not (os.environ.get("CC") or shutil.which(sysconfig.get_config_var("CC").split()[0])):
            os.environ["CC"] = "cc" if shutil.which("cc") else "gcc"
        try:
            from Cython.Build import cythonize

            # The plain Extension stands in `ext_modules` so that a wheel is tagged as binary.
            self.extensions[:] = cythonize(
                extensions("-O3"),
                build_dir="build/cython",
                force=bool(self.force),
                # Annotations are for mypy; the C types stand in the .pxd alone.
                compiler_directives={"language_level": 3, "annotation_typing": False},
                quiet=True,
            )
            for extension in self.extensions:
                # What build_ext.finalize_options() sets on extensions that it knew before.
                extension._full_name = self.get_ext_fullname(extension.name)
                extension._links_to_dynamic = False
                extension._needs_stub = False
                extension._file_name = self.get_ext_filename(extension._full_name)
            super().run()
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())
            return f"the build failed: {type(error).__name__}: {text[:120]}"
        return None


ready = why_pure() is None
setup(
    ext_modules=extensions() if ready else [],
    cmdclass={"build_ext": BuildCodec},
)
