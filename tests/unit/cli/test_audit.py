"""`sconectl audit`: which commit explains each version in the CAS; a real repository and the embedded CAS."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text
from ruamel.yaml import YAML

from .conftest import Outcome, Run
from .test_rolling import THREE, TWO, Shop

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the program git is missing")
MESH = ("-f", "mesh.yaml")


def git(*words: str) -> str:
    me = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always")
    return subprocess.run(("git", *me, *words), check=True, capture_output=True, text=True).stdout.strip()


def commit(subject: str) -> str:
    git("add", "-A", ".")
    git("commit", "-qm", subject)
    return git("rev-parse", "HEAD")


@pytest.fixture
def shop(project: Path, run: Run) -> Shop:
    """A mesh that was applied, in a repository with one commit."""
    git("init", "-q", "-b", "main")
    made = Shop(project, run)
    made.write()
    made.apply()
    commit("Sell things")
    return made


def audit(shop: Shop, *words: str, code: int = 0) -> Outcome:
    done = shop.run("audit", *(words if "--namespace" in words else (*MESH, *words)))
    assert done.code == code, done.out + done.err
    return done


def versions(shop: Shop, name: str, *words: str, code: int = 0) -> list[tuple[int, str, str]]:
    """Return number, reason and subject of the commit of each version of a session."""
    sessions = json.loads(audit(shop, *words, "--output", "json", code=code).out)["sessions"]
    (found,) = [each["versions"] for each in sessions if each["name"] == name]
    return [(each["number"], each["reason"], (each["commit"] or {}).get("subject", "")) for each in found]


def write_session(shop: Shop, name: str, old: str, new: str, *without: str) -> None:
    """Write what the CAS has into ../session.yaml, with another text in one place."""
    text = shop.run("session", "read", name).out
    assert old in text
    document = YAML(typ="safe").load(text.replace(old, new))
    kept = {key: value for key, value in document.items() if key not in ("predecessor", "creator", *without)}
    Path("../session.yaml").write_text(json.dumps(kept))


def by_hand(shop: Shop, name: str, old: str, new: str) -> None:
    """Change a session as somebody would who has nothing to do with the manifests."""
    write_session(shop, name, old, new)
    done = shop.run("session", "update", "../session.yaml")
    assert done.code == 0, done.err


def test_each_version_has_its_commit(shop: Shop) -> None:
    shop.write(TWO)
    shop.apply()
    second = commit("Sell more")
    shop.apply()  # which changes nothing
    done = audit(shop)
    lines = done.out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["shop", "v1"],
        ["shop/db", "v1"],
        ["shop/web", "v2"],
        ["shop/web", "v1"],
    ]
    locked = json.loads(Path("sconectl.lock").read_text())["meshes"]["shop"]["sessions"]["shop/web"]["hash"]
    date = git("show", "-s", "--format=%as", second)
    assert lines[2] == f'shop/web  v2  {locked[:12]}  commit {second[:7]} "Sell more" (Ada, {date})'
    assert '"Sell things"' in lines[3]
    other = audit(shop, "--namespace", "shop", "--cas", "local", "--quiet")
    assert (other.out, other.err) == (done.out, "")


def test_everything_for_programs(shop: Shop) -> None:
    by_hand(shop, "shop/web", "main.py", "other.py")
    found = json.loads(audit(shop, "--output", "json", code=7).out)
    assert (found["namespace"], found["cas"]) == ("shop", "local")
    changed, first = next(each["versions"] for each in found["sessions"] if each["name"] == "shop/web")
    assert (changed["reason"], changed["commit"], changed["access_only"]) == ("nothing", None, False)
    assert {change["group"] for change in changed["changes"]} == {"configuration", "values"}
    assert first["commit"] == {
        "id": git("rev-parse", "HEAD"),
        "subject": "Sell things",
        "author": "Ada",
        "date": git("show", "-s", "--format=%as"),
    }
    assert (
        first["hash"] == json.loads(Path("sconectl.lock").read_text())["meshes"]["shop"]["sessions"]["shop/web"]["hash"]
    )


def test_no_hash_that_helps_to_guess_values_is_shown(shop: Shop) -> None:
    by_hand(shop, "shop/web", "main.py", "other.py")
    hashes = [each["hash"] for each in history(shop, "shop/web")]
    text = audit(shop, code=7).out + audit(shop, "--output", "json", code=7).out
    assert not any(hash_[:8] in text for hash_ in hashes)


def history(shop: Shop, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shop.run("session", "history", name, "--output", "json").out)["versions"]
    return found


def test_what_was_changed_by_hand_is_found_and_named(shop: Shop) -> None:
    by_hand(shop, "shop/web", "main.py", "other.py")
    done = audit(shop, code=7)
    lines = done.out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.endswith("NO COMMIT")]
    assert lines[at].startswith("shop/web  v2")
    assert lines[at + 1] == "  what the services get:"
    assert "service python3" in lines[at + 2]
    assert "1 version is in no commit" in done.err
    assert versions(shop, "shop/web", code=7)[0] == (2, "nothing", "")
    shop.apply()  # puts it right, and does not hide it
    commit("Put right what somebody changed")
    assert versions(shop, "shop/web", code=7) == [
        (3, "commit", "Put right what somebody changed"),
        (2, "nothing", ""),
        (1, "commit", "Sell things"),
    ]
    assert versions(shop, "shop/web", "--since", "HEAD") == [
        (3, "commit", "Put right what somebody changed"),
        (2, "before", ""),
        (1, "before", ""),
    ]
    assert "before HEAD" in audit(shop, "--since", "HEAD").out
    assert audit(shop, "--since", "HEAD~1", code=7)


def test_who_may_do_more_is_said_with_the_code_of_the_change(shop: Shop) -> None:
    write_session(shop, "shop/web", "mode: simulation", "mode: none")
    assert shop.run("session", "update", "../session.yaml").code == 0
    sessions = json.loads(audit(shop, "--output", "json", code=7).out)["sessions"]
    changes = [change for each in sessions for version in each["versions"] for change in version["changes"]]
    assert any(change["severity"] == "weakens" and change["code"].startswith("SC5") for change in changes)
    assert "[SC5" in audit(shop, code=7).out


def test_a_rotated_key_is_said_to_be_one(shop: Shop) -> None:
    assert shop.run("identity", "rotate").code == 0
    done = audit(shop, code=7)
    assert done.out.count("only who may read and change it, as `sconectl identity rotate` does") == 3
    assert "[SC5064]" in done.out
    assert shop.run("identity", "rotate", "--finish").code == 0
    assert shop.apply().out.count("unchanged (CAS local)") == 3
    commit("Rotate the key")
    assert versions(shop, "shop/web", code=7) == [
        (3, "commit", "Rotate the key"),
        (2, "nothing", ""),
        (1, "commit", "Sell things"),
    ]
    assert "before HEAD" in audit(shop, "--since", "HEAD").out


def test_a_revert_is_explained_when_it_is_applied(shop: Shop) -> None:
    shop.write(TWO)
    shop.apply()
    commit("Sell more")
    git("revert", "--no-edit", "HEAD")
    done = audit(shop, code=7)
    assert "session shop/web: v2 is active, and the lock at HEAD names v1" in done.err
    shop.write()
    shop.apply()
    commit("Apply the revert")
    assert [each[2] for each in versions(shop, "shop/web")] == ["Apply the revert", "Sell more", "Sell things"]


def test_branches_and_merges(shop: Shop) -> None:
    git("checkout", "-q", "-b", "more")
    shop.write(TWO)
    shop.apply()
    commit("Sell more")
    git("checkout", "-q", "main")
    Path("README").write_text("about")
    commit("Explain")
    assert "CAS local does not have" not in audit(shop, code=7).err  # the version is on the other branch only
    git("merge", "-q", "--no-ff", "-m", "Merge more", "more")
    assert [each[2] for each in versions(shop, "shop/web")] == ["Sell more", "Sell things"]
    # two branches that change the same entry: the merge takes one side, and the other stays in its history
    git("checkout", "-q", "-b", "left")
    shop.write(THREE)
    shop.apply()
    commit("Left")
    git("checkout", "-q", "-b", "right", "main")
    shop.write(TWO, level="debug")
    shop.apply()
    commit("Right")
    git("merge", "-q", "-s", "ours", "-m", "Take the right side", "left")
    assert [each[2] for each in versions(shop, "shop/web")] == ["Right", "Left", "Sell more", "Sell things"]


def test_a_lock_that_is_not_committed_is_said(shop: Shop) -> None:
    shop.write(TWO)
    shop.apply()
    done = audit(shop)
    assert "not committed yet" in done.out
    assert "warning: session shop/web: v2 is active, and is not committed yet" in done.err
    git("checkout", "-q", "sconectl.lock")
    assert "NO COMMIT" in audit(shop, code=7).out


def test_rolling_out_and_back(shop: Shop) -> None:
    shop.write(TWO)
    for subject, words in (("Roll", ("apply", "--rolling")), ("End", ("apply", "--finish")), ("Back", ("rollback",))):
        where = ("--facts", "facts") if words[0] == "apply" else ()
        assert shop.run(words[0], *MESH, *where, *words[1:]).code == 0
        commit(subject)
    assert [each[2] for each in versions(shop, "shop/web")] == ["Back", "End", "Roll", "Sell things"]


def test_what_was_there_before_the_first_lock(project: Path, run: Run) -> None:
    git("init", "-q")
    shop = Shop(project, run)
    for measurement in (None, TWO, THREE):
        shop.write(*([measurement] if measurement else []))
        shop.apply()
        if measurement != THREE:
            Path("sconectl.lock").unlink()  # as if an older version of the program had done it
    first = versions(shop, "shop/web")
    assert first == [(3, "working tree", ""), (2, "before", ""), (1, "before", "")]
    commit("Begin the record")
    assert versions(shop, "shop/web") == [(3, "commit", "Begin the record"), *first[1:]]
    assert "before the first lock" in audit(shop).out


def test_a_session_that_somebody_made_before_a_service_came_is_no_beginning(shop: Shop) -> None:
    write_session(shop, "shop/db", "shop/db", "shop/cache", "secrets", "services")
    made = shop.run("session", "create", "../session.yaml")
    assert made.code == 0, made.err
    done = audit(shop, code=7)
    assert "error: session shop/cache: no lock has ever known this session" in done.err
    assert "shop/cache" in done.out and "NO COMMIT" in done.out
    assert "shop/cache" not in audit(shop, "--foreign", "shop/cache").out
    assert "a lock has this session" in audit(shop, "--foreign", "shop/db", code=2).err
    lock = json.loads(Path("sconectl.lock").read_text())
    sessions = lock["meshes"]["shop"]["sessions"]
    sessions["shop/cache"] = dict(sessions["shop/db"])
    Path("sconectl.lock").write_text(json.dumps(lock))
    commit("Know it by another version")
    assert "does not have the version that the lock at HEAD names" in audit(shop, code=7).err


def test_a_session_of_nobody_that_is_retired_is_no_alarm(shop: Shop) -> None:
    write_session(shop, "shop/db", "shop/db", "shop/cache", "secrets", "services")
    assert shop.run("session", "create", "../session.yaml").code == 0
    assert versions(shop, "shop/cache", code=7) == [(1, "nothing", "")]
    assert shop.run("session", "retire", "shop/cache").code == 0
    assert versions(shop, "shop/cache") == [(2, "retired", ""), (1, "retired", "")]


def test_a_session_that_is_retired(shop: Shop) -> None:
    assert shop.run("session", "retire", "shop/db", "--yes").code == 0
    done = audit(shop, code=7)
    assert "retired, gives nothing to anybody" in done.out
    assert "v2 is active, and the lock at HEAD names v1" in done.err
    lock = json.loads(Path("sconectl.lock").read_text())
    del lock["meshes"]["shop"]["sessions"]["shop/db"]
    Path("sconectl.lock").write_text(json.dumps(lock))
    commit("Sell without a database")
    assert versions(shop, "shop/db")[0] == (2, "retired", "")


def test_a_service_that_was_removed_and_pruned(shop: Shop) -> None:
    Path("mesh.yaml").write_text(mesh_text(["web"]).replace("cas.example.org", "local"))
    shop.apply()
    commit("Sell without a database")
    assert versions(shop, "shop/db") == [(1, "commit", "Sell things")]
    shop.apply("--prune")
    commit("Let nobody have its secrets")
    assert versions(shop, "shop/db") == [(2, "retired", ""), (1, "commit", "Sell things")]
    shop.write()  # it comes back
    shop.apply()
    commit("Sell with a database again")
    assert [each[1] for each in versions(shop, "shop/db")] == ["commit", "retired", "commit"]


def test_what_left_the_lock_and_still_gives_is_said(shop: Shop) -> None:
    lock = json.loads(Path("sconectl.lock").read_text())
    del lock["meshes"]["shop"]["sessions"]["shop/db"]
    Path("sconectl.lock").write_text(json.dumps(lock))
    commit("Forget the database")
    assert "warning: session shop/db: the lock at HEAD has it no more" in audit(shop).err


def test_what_the_cas_does_not_have(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = json.loads(Path("sconectl.lock").read_text())
    sessions = lock["meshes"]["shop"]["sessions"]
    sessions["shop/gone"] = dict(sessions["shop/db"])
    Path("sconectl.lock").write_text(json.dumps(lock))
    commit("Know more than there is")
    assert "error: session shop/gone: is in the lock, and CAS local has no such session" in audit(shop, code=7).err
    monkeypatch.setenv("XDG_DATA_HOME", str(shop.folder.parent / "empty"))
    assert "error: session shop: CAS local has no such session" in audit(shop, code=7).err


def test_a_clone_without_its_history(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write(TWO)
    shop.apply()
    commit("Sell more")
    git("clone", "-q", "--depth", "1", f"file://{shop.folder}", "../shallow")
    monkeypatch.chdir("../shallow")
    done = audit(shop, code=7)
    assert "the history of this clone is cut" in done.err
    assert "--since" in done.err
    assert versions(shop, "shop/web", code=7) == [(2, "commit", "Sell more"), (1, "nothing", "")]
    assert versions(shop, "shop/web", "--since", "HEAD") == [(2, "commit", "Sell more"), (1, "before", "")]
    git("fetch", "-q", "--unshallow")
    assert "cut" not in audit(shop).err


def test_manifests_in_a_subdirectory(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", "-q")
    folder = project / "deploy [1]" / "shop"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    shop = Shop(folder, run)
    shop.write()
    shop.apply()
    commit("Sell things")
    shop.write(TWO)
    shop.apply()
    commit("Sell more")
    assert [each[2] for each in versions(shop, "shop/web")] == ["Sell more", "Sell things"]
    monkeypatch.chdir(project)
    lock = ("--lock", str(folder.relative_to(project) / "sconectl.lock"))
    outside = shop.run("audit", "--namespace", "shop", *lock)
    assert (outside.code, outside.out.count("commit ")) == (0, 4), outside.err


def test_where_there_is_nothing_to_look_at(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(project, run)
    shop.write()
    shop.apply()
    assert "git cannot read the history of sconectl.lock: fatal: not a git repository" in audit(shop, code=4).err
    git("init", "-q", "-b", "main")
    assert versions(shop, "shop/web") == [(1, "working tree", "")]  # no commit yet
    assert "HEAD names no commit here" in audit(shop, "--since", "HEAD", code=2).err
    commit("Begin")
    assert "names no commit here" in audit(shop, "--since", "--all", code=2).err
    git("checkout", "-q", "--orphan", "other")
    elsewhere = commit("Another history")
    git("checkout", "-qf", "main")
    assert "is not in the history of HEAD" in audit(shop, "--since", elsewhere, code=2).err
    assert "has never known sessions of the mesh other" in audit(shop, "--namespace", "other", code=4).err
    assert audit(shop, "--namespace", "shop", *MESH, code=2)
    assert shop.run("audit").code == 2
    assert "there is no directory nowhere" in audit(shop, "--lock", "nowhere/sconectl.lock", code=4).err
    monkeypatch.setenv("PATH", str(project))
    assert "the program git cannot be run" in audit(shop, code=4).err


def test_damaged_locks(shop: Shop) -> None:
    good = Path("sconectl.lock").read_text()
    Path("sconectl.lock").write_text("<<<<<<< HEAD")
    damaged = commit("Damage the lock")
    assert "sconectl.lock at HEAD is no lock of this version" in audit(shop, code=7).err
    Path("sconectl.lock").write_text(good)
    commit("Mend the lock")
    done = audit(shop)
    assert f"warning: session shop: the lock in commit {damaged[:7]} cannot be read, and explains nothing" in done.err
    Path("sconectl.lock").write_text("{}")
    assert "sconectl.lock is no lock of this version" in audit(shop, code=7).err


def test_what_a_commit_says_is_not_obeyed_by_a_terminal(shop: Shop) -> None:
    Path("sconectl.lock").unlink()
    commit("Begin anew")
    shop.apply()
    git("rm", "-q", "--cached", "mesh.yaml")
    git("commit", "-qm", "Nothing")
    git("add", "-A")
    git("commit", "-qm", "\x1b[2J evil")
    assert "\x1b" not in audit(shop).out


def test_sessions_that_others_upload(shop: Shop) -> None:
    text = Path("mesh.yaml").read_text()
    Path("mesh.yaml").write_text(text.replace("cas_url: local", "cas_url: local\n    mode: SignedManifest"))
    assert "in mode SignedManifest the sessions are not uploaded here" in audit(shop, code=4).err


def test_the_number_of_programs_does_not_grow(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(environment: Mapping[str, str]) -> int:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        trace = tmp_path / "trace"
        trace.unlink(missing_ok=True)
        monkeypatch.setenv("GIT_TRACE", str(trace))
        audit(shop)
        monkeypatch.delenv("GIT_TRACE")
        return sum("trace: built-in: git" in line for line in trace.read_text().splitlines())

    first = started({})
    for level in ("debug", "warning", "error"):
        shop.write(level=level)
        shop.apply()
        commit(level)
    assert started({}) == first > 0
