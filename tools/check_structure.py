"""Checks sizes: no function above 70 lines, no file in src above 400.

Generated files are exempt from both. Run by `make lint`; exit code 1 and one line per finding.
"""

import ast
import sys
from pathlib import Path

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
FOLDERS = ("src", "tools", "tests", "bench")
# The methods are generated; the hot codec is one file because it is compiled as one unit.
LONG_FILES = frozenset(
    {
        "src/mansio/codec/amqp_methods.py",
        "src/mansio/codec/amqp.py",
        "src/mansio/codec/resp.py",
    }
)


def findings(path: str, text: str) -> list[str]:
    """What is too long in one file; `path` is relative to the root of the repository."""
    if path in LONG_FILES:
        return []
    found = []
    lines = text.count("\n")
    if path.startswith("src/") and lines > FILE_LINES_MAX:
        found.append(f"{path}: {lines} lines, at most {FILE_LINES_MAX} are allowed")
    for node in ast.walk(ast.parse(text, path)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        size = (node.end_lineno or node.lineno) - node.lineno + 1
        if size > FUNCTION_LINES_MAX:
            found.append(
                f"{path}:{node.lineno}: {node.name} has {size} lines,"
                f" at most {FUNCTION_LINES_MAX} are allowed"
            )
    return found


def main() -> int:
    """Check every Python file of the repository."""
    root = Path(__file__).resolve().parent.parent
    files = sorted(file for folder in FOLDERS for file in (root / folder).rglob("*.py"))
    found = [
        line
        for file in files
        for line in findings(file.relative_to(root).as_posix(), file.read_text())
    ]
    for line in found:
        print(line)
    print(f"structure: {len(files)} files, {len(found)} too long")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
