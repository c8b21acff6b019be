"""A folder full of modules that somebody else put there; each says in a file of its own that it was loaded."""

from __future__ import annotations

from pathlib import Path

NAMES = (
    *("asyncio", "ctypes", "hashlib", "http", "io", "json", "logging", "os", "pathlib", "re", "secrets", "signal"),
    *("site", "sitecustomize", "socket", "sqlite3", "ssl", "subprocess", "typing", "usercustomize"),
    *("anyio", "click", "cryptography", "docker", "h11", "httpx", "pydantic", "ruamel", "sconectl", "starlette"),
    *("typer", "uvicorn"),
)
PACKAGES = frozenset({"cryptography", "pydantic", "ruamel", "sconectl"})
_CODE = """\
import os
with open(os.path.join({folder!r}, "LOADED-{name}"), "w") as file:
    file.write(str(os.getpid()))
"""


def make(folder: Path, seen_as: str = "", names: tuple[str, ...] = NAMES) -> None:
    """Fill `folder`; code that runs where it has another name is told that name."""
    folder.mkdir(exist_ok=True)
    for name in names:
        code = _CODE.format(folder=seen_as or str(folder), name=name)
        if name in PACKAGES:
            (folder / name).mkdir()
        (folder / name / "__init__.py" if name in PACKAGES else folder / f"{name}.py").write_text(code)


def loaded(folder: Path) -> list[str]:
    """Return the modules of the folder that were loaded by anybody."""
    return sorted(file.name for file in folder.glob("LOADED-*"))
