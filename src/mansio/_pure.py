"""Loads the plain-Python form of the compiled modules (see MANSIO_PURE in `mansio/__init__.py`)."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

COMPILED_MODULES = frozenset(
    {
        "mansio.codec.amqp",
        "mansio.codec.resp",
        "mansio.codec.resp_fields",
        "mansio.codec.resp_quick",
        "mansio.codec.zmtp",
        "mansio.codec.zmtp_runs",
    }
)


class SourceFinder(MetaPathFinder):
    """Finds the `.py` of a compiled module; every other module is left to the usual finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in COMPILED_MODULES:
            return None
        name = fullname.rpartition(".")[2] + ".py"
        for folder in path or ():
            file = str(Path(folder, name))
            if Path(file).is_file():
                return spec_from_file_location(
                    fullname, file, loader=SourceFileLoader(fullname, file)
                )
        return None


def install() -> None:
    """Put the finder before the usual ones; once is enough."""
    if not any(isinstance(finder, SourceFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, SourceFinder())
