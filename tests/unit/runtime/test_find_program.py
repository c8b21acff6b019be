"""Which file the launcher executes: only protected ones, also along links and for scripts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sconectl.protect.index import Index
from sconectl.protect.live import scan
from sconectl.runtime import files
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.start import find_program

from .configurations import configuration


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "MEMORY", str(tmp_path / "memory"))
    for name in ("bin", "app", "open", "app/inner"):
        (tmp_path / name).mkdir()
    for name in ("bin/tool", "app/tool", "app/own", "open/tool", "open/stray", "app/inner/deep"):
        (tmp_path / name).write_bytes(b"\x7fELF")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "bin/plain").write_text("no program")
    (tmp_path / "bin/link").symlink_to("../app/own")
    (tmp_path / "bin/chain").symlink_to(tmp_path / "bin/link")
    (tmp_path / "bin/out").symlink_to("../open/stray")
    (tmp_path / "bin/loop").symlink_to("loop")
    (tmp_path / "open/in").symlink_to("../bin/tool")
    (tmp_path / "open/folder").symlink_to("../bin")
    return tmp_path


@pytest.fixture
def index(root: Path) -> Index:
    """Index the tree with its real paths, as if it were the root."""
    found = scan(str(root), Index(("/open",), (), {})).index
    return Index((f"{root}/open",), (), {f"{root}{path}": entry for path, entry in found.entries.items()})


def find(root: Path, index: Index, name: str, path: str | None = "bin:app", pwd: str = "") -> str:
    places = None if path is None else ":".join(f"{root}/{folder}" if folder else "" for folder in path.split(":"))
    environment = {} if places is None else {"PATH": places}
    config = configuration(argv=(name.replace("@", str(root)), "x"), environment=environment, pwd=f"{root}/{pwd}")
    found = Path(config.pwd) / find_program(config, index)
    return os.path.normpath(found).removeprefix(f"{root}/")


@pytest.mark.parametrize(
    ("name", "path", "pwd", "found"),
    [
        ("tool", "bin:app", "", "bin/tool"),
        ("tool", "app:bin", "", "app/tool"),
        ("own", "bin:app", "", "app/own"),
        ("tool", "nowhere:bin", "", "bin/tool"),
        ("own", "", "app", "app/own"),  # an empty PATH is the working directory
        ("own", "bin:", "app", "app/own"),
        ("./own", "bin", "app", "app/own"),
        ("inner/deep", "bin", "app", "app/inner/deep"),
        ("../bin/tool", "app", "app", "bin/tool"),
        ("@/bin/tool", "app", "app", "bin/tool"),
        ("link", "bin", "", "bin/link"),
        ("chain", "bin", "", "bin/chain"),
        ("tool", "bin/../app", "", "app/tool"),
    ],
)
def test_found(root: Path, index: Index, name: str, path: str, pwd: str, found: str) -> None:
    assert find(root, index, name, path, pwd) == found


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("ghost", "bin:app", "not found"),
        ("", "bin", "no command"),
        ("plain", "bin", "cannot be executed"),
        ("inner", "app", "not found"),
        ("loop", "bin", "not found"),
        ("stray", "open", "not among the protected files"),
        ("@/open/tool", "bin", "not among the protected files"),
        ("tool", "open:bin", "not among the protected files"),  # never silently the next one
        ("out", "bin", "not among the protected files"),
        ("in", "open", "open/in, which is not protected"),  # protected in the end, chosen by an unprotected link
        ("tool", "open/folder", "open/folder, which is not protected"),
        ("bad\0name", "bin", "not found"),
    ],
)
def test_refused(root: Path, index: Index, name: str, path: str, reason: str) -> None:
    with pytest.raises(LaunchRefused) as caught:
        find(root, index, name, path)
    assert reason in caught.value.message


def test_relative_folders_of_path_belong_to_the_working_directory_of_the_policy(
    root: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator chooses where the launcher starts, and must not choose the program by that."""
    (root / "open/inner").mkdir()
    (root / "open/inner/deep").write_bytes(b"\x7fELF")
    (root / "open/inner/deep").chmod(0o755)
    monkeypatch.chdir(root / "open")
    config = configuration(argv=("deep",), environment={"PATH": "inner"}, pwd=f"{root}/app")
    assert find_program(config, index) == f"{root}/app/inner/deep"


def test_a_program_with_a_relative_name_is_executed_by_that_name(root: Path, index: Index) -> None:
    """A script finds the name in its arguments, as where a container runtime starts it."""
    config = configuration(argv=("../bin/tool",), environment={}, pwd=f"{root}/app")
    assert find_program(config, index) == "../bin/tool"


def test_without_path_the_usual_folders_are_searched(root: Path, index: Index) -> None:
    with pytest.raises(LaunchRefused) as caught:
        find(root, index, "sh", None)
    assert "/bin/sh" in caught.value.message


def script(root: Path, line: bytes) -> Path:
    file = root / "bin/script"
    file.write_bytes(line + b"\nrest\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    "line", ["#!@/bin/tool", "#! @/bin/tool -x", "#!\t@/bin/link\t-x y", "#!bin/tool", "not a script"]
)
def test_scripts_with_a_protected_interpreter(root: Path, index: Index, line: str) -> None:
    file = script(root, line.replace("@", str(root)).encode())
    known = Index(index.outside, (), {**index.entries, str(file): ("f", "755", "0", "")})
    assert find(root, known, "script") == "bin/script"


@pytest.mark.parametrize(
    "line",
    ["#!@/open/tool", "#! @/open/in", "#!open/tool", "#!/nonexistent", "#!@/bin/tool\r", "#!@/bin/script2"],
)
def test_scripts_with_another_interpreter_are_refused(root: Path, index: Index, line: str) -> None:
    file = script(root, line.replace("@", str(root)).encode())
    second = root / "bin/script2"
    second.write_text(f"#!{root}/open/tool\n")
    entries = {**index.entries, str(file): ("f", "755", "0", ""), str(second): ("f", "755", "0", "")}
    with pytest.raises(LaunchRefused):
        find(root, Index(index.outside, (), entries), "script")


def test_a_script_that_is_its_own_interpreter_ends(root: Path, index: Index) -> None:
    file = script(root, f"#!{root}/bin/script".encode())
    known = Index(index.outside, (), {**index.entries, str(file): ("f", "755", "0", "")})
    assert find(root, known, "script") == "bin/script"


def test_programs_in_encrypted_directories(root: Path, index: Index) -> None:
    secret = Path(f"{root}/secret")
    target = Path(files.sealed_target(str(secret)))
    target.mkdir(parents=True)
    (target / "tool").write_bytes(b"\x7fELF")
    (target / "tool").chmod(0o755)
    (target / "alias").symlink_to("tool")
    (target / "away").symlink_to(root / "open/tool")
    secret.symlink_to(target)
    sealed = Index(index.outside, (str(secret),), {**index.entries, str(secret): ("l", str(target))})
    assert find(root, sealed, "@/secret/tool") == "secret/tool"
    assert find(root, sealed, "@/secret/alias") == "secret/alias"
    with pytest.raises(LaunchRefused):
        find(root, sealed, "@/secret/away")
    with pytest.raises(LaunchRefused):  # the same file, if nothing there is encrypted
        find(root, index, "@/secret/tool")
