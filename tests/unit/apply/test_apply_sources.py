"""Files that a manifest copies: never from outside its directory, and the same on every checkout."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sconectl.apply.sources import source_tree
from sconectl.apply.sources.sources import CopiedTree, find_copied
from sconectl.errors import PlanImpossible
from sconectl.text.yaml_text import dump
from sconectl.text.yaml_tree import parse


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "outside.txt").write_text("outside")
    return folder


def fill(project: Path, *names: str) -> None:
    for name in names:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)


def copied(project: Path, *names: str, private: tuple[str, ...] = ()) -> CopiedTree:
    document = parse(dump({"build": {"copy": list(names)}}), "service.yaml")
    return find_copied(names, "/app", project, document, [project / name for name in private])


def places(project: Path, *names: str, **given: Any) -> list[str]:
    """Return the places of all files and links, without `/app/`."""
    return [file.path.removeprefix("/app/") for file in copied(project, *names, **given) if file.source or file.link]


def refused(project: Path, *names: str) -> dict[str, list[str]]:
    with pytest.raises(PlanImpossible) as caught:
        copied(project, *names)
    found: dict[str, list[str]] = {}
    for finding in caught.value.findings:
        assert finding.code == "SC1005" and finding.position.line > 1
        found.setdefault(finding.path, []).append(finding.message)
    return found


def test_a_directory_with_everything(project: Path) -> None:
    fill(project, "src/main.py", "src/run.sh", "src/deep/data")
    (project / "src/run.sh").chmod(0o755)
    (project / "src/link").symlink_to("deep/data")
    (project / "src/folder").symlink_to("deep")
    (project / "src/dangling").symlink_to("not-there-yet")
    assert [(f.path, oct(f.mode), f.link, f.source is not None) for f in copied(project, "src")] == [
        ("/app/src", "0o755", "", False),
        ("/app/src/dangling", "0o777", "not-there-yet", False),
        ("/app/src/deep", "0o755", "", False),
        ("/app/src/deep/data", "0o644", "", True),
        ("/app/src/folder", "0o777", "deep", False),
        ("/app/src/link", "0o777", "deep/data", False),
        ("/app/src/main.py", "0o644", "", True),
        ("/app/src/run.sh", "0o755", "", True),
    ]


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o775, 0o755), (0o4755, 0o755)]
)
def test_the_umask_of_a_checkout_makes_no_difference(project: Path, mode: int, expected: int) -> None:
    fill(project, "f")
    (project / "f").chmod(mode)
    (file,) = copied(project, "f")
    assert file.mode == expected


def test_files_keep_their_relative_path(project: Path) -> None:
    fill(project, "a/b/c.py")
    assert places(project, "a/b/c.py", "a/b/c.py") == ["a/b/c.py"]


def test_the_whole_directory(project: Path) -> None:
    fill(project, "main.py")
    assert [f.path for f in copied(project, ".")] == ["/app", "/app/main.py"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", [".hidden.py", "b.py", "main.py"]),
        ("?.py", ["b.py"]),
        ("[a-c].py", ["b.py"]),
        ("[^b]*.py", [".hidden.py", "main.py"]),
        ("src/*", ["src/a.py", "src/deep/c.py", "src/deep/deeper/d.py"]),
        ("src/**/*.py", ["src/a.py", "src/deep/c.py", "src/deep/deeper/d.py"]),
        ("**/c.py", ["src/deep/c.py"]),
        ("**/deep", ["src/deep/c.py", "src/deep/deeper/d.py"]),
        ("s*/d*/*.py", ["src/deep/c.py"]),
        ("odd\\[1\\].tx?", ["odd[1].txt"]),
    ],
)
def test_patterns(project: Path, pattern: str, expected: list[str]) -> None:
    fill(project, "main.py", "b.py", ".hidden.py", "src/a.py", "src/deep/c.py", "src/deep/deeper/d.py", "odd[1].txt")
    assert places(project, pattern) == expected


def test_a_file_with_the_name_of_a_pattern_is_that_file(project: Path) -> None:
    fill(project, "odd[1].txt", "odd1.txt", "*")
    assert places(project, "odd[1].txt") == ["odd[1].txt"]
    assert places(project, "*") == ["*"]


def test_patterns_that_match_nothing_or_make_no_sense(project: Path) -> None:
    fill(project, "a.py", "ignored/b.txt")
    (project / ".dockerignore").write_text("ignored\n")
    assert refused(project, "*.txt", "gone/*.py", "[a", "x\\", "[z-a]*", "a.py/*", "ignored/*") == {
        "build.copy[0]": ["no file matches the pattern"],
        "build.copy[1]": ["no file matches the pattern"],
        "build.copy[2]": ["the pattern cannot be used: a bracket is not closed, or empty"],
        "build.copy[3]": ["there is no such file"],
        "build.copy[4]": ["the pattern cannot be used: z-a is not a range"],
        "build.copy[5]": ["there is no such file"],
        "build.copy[6]": ["no file matches the pattern"],
    }


def test_dockerignore_applies_to_directories_and_patterns(project: Path) -> None:
    fill(project, "src/a.py", "src/a.pyc", "src/cache/b.py", "src/keep/c.pyc", "notes.md", "README.md")
    (project / ".dockerignore").write_text("# comment\n\n**/*.pyc\n  /src/cache/  \n*.md\n!README.md\n!src/keep/*\n")
    assert places(project, ".") == [".dockerignore", "README.md", "src/a.py", "src/keep/c.pyc"]
    assert places(project, "*.md") == ["README.md"]
    assert places(project, "src/*") == ["src/a.py", "src/keep/c.pyc"]
    assert places(project, "notes.md", "src/a.pyc") == ["notes.md", "src/a.pyc"]  # what is named is wanted


def test_what_dockerignore_leaves_out_is_not_looked_at(project: Path) -> None:
    fill(project, "src/a.py")
    os.mkfifo(project / "src/pipe")
    (project / "src/out").symlink_to("/etc")
    (project / ".dockerignore").write_text("src/pipe\nsrc/o*\n")
    assert places(project, "src") == ["src/a.py"]


def test_a_directory_that_is_ignored_as_a_whole(project: Path) -> None:
    fill(project, "src/a.py")
    (project / ".dockerignore").write_text("src\n")
    assert refused(project, "src") == {"build.copy[0]": [".dockerignore leaves it out"]}


def test_a_dockerignore_that_cannot_be_used(project: Path) -> None:
    fill(project, "a")
    (project / ".dockerignore").write_text("a\n[\n")
    with pytest.raises(PlanImpossible) as caught:
        copied(project, ".")
    (finding,) = caught.value.findings
    assert (finding.position.line, finding.message) == (
        2,
        "the pattern cannot be used: a bracket is not closed, or empty",
    )
    (project / ".dockerignore").unlink()
    os.mkfifo(project / ".dockerignore")
    with pytest.raises(Exception, match="dockerignore"):
        copied(project, ".")


def test_what_is_private_is_copied_only_by_name(project: Path) -> None:
    fill(project, "main.py", "service.yaml", "target/images/web.json", "target/other")
    private = ("service.yaml", "target")
    assert places(project, ".", private=private) == ["main.py"]
    assert places(project, "*", private=private) == ["main.py"]
    assert places(project, "service.yaml", "target/other", private=private) == ["service.yaml", "target/other"]
    assert places(project, "target/o*", private=private) == ["target/other"]
    assert places(project, "target", private=private) == ["target/images/web.json", "target/other"]


def test_links_that_are_named_are_followed_and_others_kept(project: Path) -> None:
    fill(project, "real.py", "deep/real/x.py")
    (project / "link.py").symlink_to("real.py")
    (project / "folder").symlink_to("deep/real")
    (project / "deep/real/up").symlink_to("../../real.py")
    assert [(f.path, f.link) for f in copied(project, "*.py")] == [("/app/link.py", "real.py"), ("/app/real.py", "")]
    (file,) = copied(project, "link.py")
    assert (file.path, file.source, file.link) == ("/app/link.py", (project / "real.py").resolve(), "")
    found = {f.path: str(f.source or f.link) for f in copied(project, "folder")}
    assert found == {
        "/app/folder": "",
        "/app/folder/up": "../../real.py",
        "/app/folder/x.py": str((project / "deep/real/x.py").resolve()),
    }
    assert places(project, "folder/x.py") == ["folder/x.py"]


def test_the_later_entry_wins(project: Path) -> None:
    fill(project, "real.py", "deep/x.py")
    (project / "link.py").symlink_to("real.py")
    (project / "folder").symlink_to("deep")
    first = {f.path: f.link for f in copied(project, ".", "link.py", "folder")}
    assert (first["/app/link.py"], first["/app/folder"], first["/app/folder/x.py"]) == ("", "", "")
    second = {f.path: f.link for f in copied(project, "link.py", "folder", ".")}
    assert (second["/app/link.py"], second["/app/folder"]) == ("real.py", "deep")
    assert "/app/folder/x.py" not in second


def test_everything_that_cannot_be_used_is_named_at_once(project: Path) -> None:
    (project / "out").symlink_to("../outside.txt")
    (project / "circle").symlink_to("circle")
    fill(project, "dir/fine", "file")
    (project / "dir/abs").symlink_to("/etc/hostname")
    (project / "dir/out").symlink_to("../../outside.txt")
    (project / "dir/escape").symlink_to("nowhere/../../../x")
    (project / "dir/a").symlink_to("b")
    (project / "dir/b").symlink_to("a")
    os.mkfifo(project / "pipe")
    (project / "special").mkdir()
    os.mkfifo(project / "special/pi\npe")
    os.mknod(project / "special/s", 0o600 | stat.S_IFSOCK)
    names = ["gone.py", "out", "circle", "dir", "pipe", "special", "file/below", "n" * 300, "special/*"]
    found = refused(project, *names)
    assert [found[f"build.copy[{n}]"] for n in range(len(names))] == [
        ["there is no such file"],
        ["the path leads out of the manifest's directory"],
        ["the path is a link that leads in a circle"],
        [
            "dir/a is a link that leads in a circle",
            "dir/abs is an absolute link, which leads elsewhere in the image",
            "dir/b is a link that leads in a circle",
            "dir/escape leads out of the manifest's directory",
            "dir/out leads out of the manifest's directory",
        ],
        ["this is not a file, directory or link"],
        ["special/pi\\npe is not a file, directory or link", "special/s is not a file, directory or link"],
        ["there is no such file"],
        ["the path has a name that is too long"],
        ["special/pi\\npe is not a file, directory or link", "special/s is not a file, directory or link"],
    ]


def test_many_faults_are_counted(project: Path) -> None:
    (project / "d").mkdir()
    for number in range(25):
        (project / f"d/{number:02}").symlink_to("/etc")
    assert refused(project, "d")["build.copy[0]"][-1] == "and 15 more files cannot be used"


def test_names_of_any_bytes(project: Path) -> None:
    folder = os.fsencode(project / "d")
    (project / "d").mkdir()
    for name in (b"\xff\xfe", b"new\nline", b"-rf", "größe".encode(), b"a b", b"*"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    names = [os.fsencode(f.path).removeprefix(b"/app/d/") for f in copied(project, "d") if f.source]
    assert sorted(names) == sorted([b"\xff\xfe", b"new\nline", b"-rf", "größe".encode(), b"a b", b"*"])


def test_a_tree_that_is_too_deep(project: Path) -> None:
    folder = project / "d"
    for _ in range(source_tree.MAX_DEPTH + 3):
        folder = folder / "d"
    folder.mkdir(parents=True)
    (message,) = refused(project, "d")["build.copy[0]"]
    assert message.endswith("lies deeper than 128 directories")


def test_files_that_may_not_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(project, "f", "d/g")
    (project / "d/g").chmod(0o600)
    monkeypatch.setattr(os, "access", lambda path, _mode, **_given: False)
    assert refused(project, "f", "d") == {
        "build.copy[0]": ["it may not be read"],
        "build.copy[1]": ["d/g may not be read"],
    }


def test_directories_that_may_not_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(project, "d/e/f")
    real = os.open

    def refuse(path: Any, flags: int, *, dir_fd: int | None = None, **given: Any) -> int:
        if path == "e":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, dir_fd=dir_fd, **given)

    monkeypatch.setattr(os, "open", refuse)
    assert refused(project, "d") == {"build.copy[0]": ["d/e may not be read"]}


@pytest.mark.parametrize("copies", [True, False])
def test_a_large_tree_is_the_same_with_and_without_a_second_process(
    project: Path, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    names = [f"a{n % 40}/b{n % 3}/{n}" for n in range(500)]
    fill(project, *names)
    (project / "a7/link").symlink_to("b1")
    os.mkfifo(project / "a9/pipe")
    (project / ".dockerignore").write_text("a9/pipe\n")
    if not copies:
        monkeypatch.setattr(os, "fork", _fails)
    assert places(project, ".") == sorted([".dockerignore", "a7/link", *names])


def _fails() -> int:
    raise OSError(11, "Resource temporarily unavailable")


def test_a_copy_that_ends_early_is_no_loss(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"a{n}/f" for n in range(60)]
    fill(project, *names)
    parent, real = os.getpid(), os.listdir
    listing: Callable[[Any], list[str]] = lambda path: real(path) if os.getpid() == parent else os._exit(9)  # noqa: E731
    monkeypatch.setattr(os, "listdir", listing)
    assert places(project, ".") == sorted(names)
