"""Runs inside a build container: gathers a relocatable CPython with the launcher below one folder.

Standard library only, and no import of ours. Usage: `python3 -I -S -B collect_launcher.py SITE OUT`, where SITE
holds the launcher's packages. Works on glibc systems; the result runs in any Linux image, even an empty one.
"""

import compileall
import os
import py_compile
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

UNNEEDED = {
    "__phello__", "__pycache__", "config", "curses", "dbm", "dist-packages", "distutils", "ensurepip", "idlelib",
    "lib2to3", "multiprocessing", "pydoc_data", "site-packages", "sqlite3", "test", "tkinter", "turtledemo",
    "unittest", "venv", "wsgiref", "xmlrpc", "pydoc.py", "turtle.py", "sitecustomize.py", "__hello__.py",
}  # fmt: skip
UNNEEDED_EXTENSIONS = (
    "_curses",
    "_dbm",
    "_gdbm",
    "_sqlite3",
    "_test",
    "_tkinter",
    "_xx",
    "nis",
    "ossaudio",
    "readline",
    "xx",
)


def interpreter_of(binary: Path) -> str:
    """Return the dynamic loader that a 64-bit little-endian ELF file asks for."""
    data = binary.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise SystemExit(f"{binary} is not a 64-bit ELF file")
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    for number in range(count):
        kind, _flags, start, _vaddr, _paddr, length = struct.unpack_from("<IIQQQQ", data, offset + number * size)
        if kind == 3:
            return data[start : start + length].rstrip(b"\0").decode()
    raise SystemExit(f"{binary} is statically linked")


PRELOAD = b"/etc/ld.so.preload\0"
NO_PRELOAD = b"/scone/.no-preload\0"


def without_preload(loader: bytes) -> bytes:
    """Return the loader with another place for its preload file: the image's own would run before anything is measured.

    The new place is among the measured files of the launcher, where nothing is.
    """
    if loader.count(PRELOAD) != 1:
        raise SystemExit("the dynamic loader is not of the known kind: it has no single preload path")
    return loader.replace(PRELOAD, NO_PRELOAD)


def libraries_of(loader: str, file: Path) -> dict[str, str]:
    """Return the shared libraries that the loader would map for `file`, by name."""
    result = subprocess.run([loader, "--list", str(file)], capture_output=True, text=True, check=False)  # noqa: S603
    found = {}
    for line in result.stdout.splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if arrow and rest.startswith("not found"):
            raise SystemExit(f"{file} needs {name}, which is not installed")
        if arrow:
            found[Path(name).name] = rest.split(" (")[0]
    return found


def wanted(folder: str, names: list[str]) -> set[str]:
    """Tell `copytree` what to leave out."""
    del folder
    return {
        name
        for name in names
        if name in UNNEEDED or name.startswith(("config-", *UNNEEDED_EXTENSIONS)) or name.endswith((".a", ".pyc"))
    }


def collect(site: Path, out: Path) -> None:
    """Build the folder."""
    python = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    loader = interpreter_of(python)
    libraries = out / "lib"
    shutil.copytree(stdlib, libraries / stdlib.name, ignore=wanted, symlinks=False, ignore_dangling_symlinks=True)
    shutil.copytree(site, out / "runtime", ignore=wanted)
    (out / "bin").mkdir()
    shutil.copy2(python, out / "bin" / "python3")
    (libraries / "ld.so").write_bytes(without_preload(Path(loader).read_bytes()))
    needed: dict[str, str] = {}
    for file in [out / "bin" / "python3", *out.rglob("*.so"), *out.rglob("*.so.*")]:
        needed.update(libraries_of(loader, file))
    libc_folder = Path(next(path for name, path in needed.items() if name.startswith("libc.so"))).parent
    for name in ("libnss_dns.so.2", "libnss_files.so.2"):
        if (libc_folder / name).exists():
            needed[name] = str(libc_folder / name)
    for name, path in sorted(needed.items()):
        shutil.copy2(os.path.realpath(path), libraries / name)
    compile_all(out)
    normalise(out)


def compile_all(out: Path) -> None:
    """Replace sources by byte code that does not depend on when it was made."""
    for folder in (out / "lib", out / "runtime"):
        done = compileall.compile_dir(
            str(folder), maxlevels=20, ddir=f"/scone/{folder.name}", quiet=1, legacy=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip
        if not done:
            raise SystemExit(f"the sources below {folder} do not compile")
        for source in folder.rglob("*.py"):
            source.unlink()


def normalise(out: Path) -> None:
    """Set modes that let any user run it, and none change it."""
    for path in [out, *out.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.parent == out / "bin" or path.name == "ld.so"
            path.chmod(0o755 if executable else 0o644)


if __name__ == "__main__":
    collect(Path(sys.argv[1]), Path(sys.argv[2]))
