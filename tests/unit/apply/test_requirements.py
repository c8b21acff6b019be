"""Requirements files: what they include is carried along, and what a build could not find is a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.apply.sources.requirements import read_requirements
from sconectl.errors import PlanImpossible
from sconectl.text.yaml_tree import parse

DOCUMENT = parse("build:\n  requirements: x\n", "service.yaml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project/sub").mkdir(parents=True)
    return tmp_path / "project"


def refused(project: Path, text: str) -> list[tuple[int, str]]:
    (project / "r.txt").write_text(text)
    with pytest.raises(PlanImpossible) as caught:
        read_requirements("r.txt", project, DOCUMENT)
    assert {finding.code for finding in caught.value.findings} == {"SC1005"}
    return [(finding.position.line, finding.message) for finding in caught.value.findings]


def test_files_are_taken_with_all_that_they_include(project: Path) -> None:
    (project / "r.txt").write_text("-r sub/a.txt\n--constraint=sub/c.txt # why\nhumanize==4.12.3\n")
    (project / "sub/a.txt").write_text("-c c.txt\n--requirement ../b.txt\n")
    (project / "sub/c.txt").write_text("x<2\n")
    (project / "b.txt").write_text("-rr.txt\n")  # a circle
    found = read_requirements("r.txt", project, DOCUMENT)
    assert (found.main, sorted(found.files)) == ("r.txt", ["b.txt", "r.txt", "sub/a.txt", "sub/c.txt"])
    assert found.files["b.txt"] == b"-rr.txt\n"


FINE = """\
# -e ./commented
humanize==4.12.3 \\
    --hash=sha256:00ab
requests[socks]>=2 ; python_version > "3"   # file:///x
foo @ https://example.org/foo-1.0.whl
git+ssh://git@example.org/foo.git
-i https://example.org/simple
--find-links https://example.org/wheels
--no-binary :all:
--require-hashes
\\

"""


def test_what_pip_can_do_in_a_build_is_left_to_pip(project: Path) -> None:
    (project / "r.txt").write_text(FINE)
    assert read_requirements("r.txt", project, DOCUMENT).files == {"r.txt": FINE.encode()}


@pytest.mark.parametrize(
    "line",
    ["-e .", "--editable=./x", ".", "./x", "sub/x", "/abs/x.whl", "x.whl", "x-1.tar.gz[extra]", "file:///x",
     "a @ file:x",
     "-f wheels", "--find-links=/wheels"],
)  # fmt: skip
def test_what_is_on_this_machine_only(project: Path, line: str) -> None:
    ((number, message),) = refused(project, f"a==1\n{line}\n")
    assert number == 2
    assert "does not find" in message or "in place" in message


@pytest.mark.parametrize("target", ["../r.txt", "https://example.org/r.txt", "/etc/r.txt", "", "sub/../../r.txt"])
def test_includes_stay_in_the_directory(project: Path, target: str) -> None:
    assert refused(project, f"-r {target}") == [(1, "only files in the manifest's directory can be included")]


def test_what_cannot_be_read(project: Path) -> None:
    (project / "out.txt").symlink_to("../../etc/passwd")
    (project / "sub/circle").symlink_to("circle")
    found = refused(project, "-r gone.txt\n-r out.txt\n-r sub\n-r sub/circle\n")
    assert found == [
        (1, "gone.txt does not exist"),
        (2, "out.txt leads out of the manifest's directory"),
        (3, "sub is not a file"),
        (4, "sub/circle is a link that leads in a circle"),
    ]
    with pytest.raises(PlanImpossible) as caught:
        read_requirements("none.txt", project, DOCUMENT)
    (finding,) = caught.value.findings
    assert (str(finding.position), finding.path) == ("service.yaml:2:17", "build.requirements")


@pytest.mark.parametrize(
    "line",
    ["-i https://me:hunter2@example.org/simple", "--extra-index-url=https://hunter2@example.org",
     "foo @ git+https://hunter2@example.org/x", "https://${TOKEN}@example.org/hunter2.whl",
     "a==1 \\\n-i http://hunter2@x"],
)  # fmt: skip
def test_credentials_are_refused_and_not_repeated(project: Path, line: str) -> None:
    ((number, message),) = refused(project, line)
    assert (number, message) == (1, "the URL holds credentials, which would stay in the engine's cache")
    assert "hunter2" not in message


def test_all_at_once_with_their_own_positions(project: Path) -> None:
    (project / "sub/a.txt").write_text("ok\n\n-e x\n")
    assert [number for number, _ in refused(project, "./x\n-r sub/a.txt\n./y")] == [1, 3, 3]
