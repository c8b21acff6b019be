"""The pipeline of docs/ci.md: its script, as it stands there, in clones of a real repository, with a real CAS."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import facts, mesh_text, record
from ruamel.yaml import YAML

from .world import REPOSITORY, SCONECTL, Outcome, free_port, must, run

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the program git is missing")
PAGE = (REPOSITORY / "docs" / "ci.md").read_text()
PASSWORD = {"name": "password", "kind": "ascii", "size": 10}


def block(name: str) -> str:
    """Return the code in the page that is to be saved under this name."""
    found = re.search(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```\n", PAGE, re.DOTALL)
    assert found, name
    return found[1]


@dataclass
class Pipeline:
    """A CAS, a repository without a working tree that everybody pushes to, and a machine for the jobs."""

    root: Path
    address: str
    cas_key: str

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SCONE", "GIT_", "DOCKER"))}
        path = f"{SCONECTL.parent}{os.pathsep}{os.environ['PATH']}"
        places = {f"XDG_{name}_HOME": str(self.root / name.lower()) for name in ("DATA", "CACHE")}
        nobody = {"DOCKER_HOST": f"unix://{self.root}/no-engine.sock"}
        return {**kept, **places, **nobody, "HOME": str(self.root / "home"), "PATH": path}

    def call(self, *words: str | Path, cwd: Path | None = None, **variables: str) -> Outcome:
        return run(list(words), env={**self.environment, **variables}, cwd=cwd or self.root)

    def git(self, folder: Path, *words: str) -> str:
        me = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        return must(self.call("git", *me, *words, cwd=folder)).out.strip()

    def clone(self, name: str) -> Path:
        """Return a fresh clone, as each job gets one."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        self.git(self.root, "clone", "-q", str(self.root / "origin.git"), str(folder))
        return folder

    def identity(self, name: str) -> str:
        """Return the key hash of an identity, made when it is first asked for."""
        config = self.root / name
        if not config.exists():
            must(self.call("sconectl", "identity", "new", "--cas-config", config))
        shown = must(self.call("sconectl", "identity", "show", "--cas-config", config, "--output", "json"))
        return str(json.loads(shown.out)["key_hash"])

    def job(self, folder: Path, job: str, identity: str, *options: str) -> Outcome:
        """Run the script of the page as a job does."""
        pem = (self.root / identity / "identity.pem").read_text()
        words = ("sh", "ci/sconectl.sh", job, "main", "--facts", "facts", *options)
        return self.call(*words, cwd=folder, SCONECTL_IDENTITY=pem, TMPDIR=str(self.root / "tmp"))

    def write(
        self,
        folder: Path,
        *more_readers: str,
        measurement: str = "01" * 32,
        secret: dict[str, Any] = PASSWORD,
        level: str = "info",
    ) -> None:
        """Write the manifests of a mesh with one service."""
        web = facts(
            "web",
            secrets={"global": [secret]},
            environment={
                "local": [
                    {"name": "SECRET", "value": f"$$SCONE::{secret['name']}$$"},
                    {"name": "LEVEL", "value": level},
                ]
            },
        )
        (folder / "facts").mkdir(exist_ok=True)
        image = web.model_copy(update={"measurement": measurement})
        (folder / "facts" / "web.json").write_text(record(image).to_text())
        (folder / "mesh.yaml").write_text(self.mesh(level, *more_readers))

    def mesh(self, level: str, *more_readers: str) -> str:
        owners, readers = [self.identity("me"), self.identity("ci-owner")], [self.identity("ci-reader"), *more_readers]
        document = YAML(typ="safe").load(mesh_text(["web"]))
        document["cas"] = [{"name": "cas", "cas_url": self.address, "cas_key": self.cas_key}]
        document["env"] = [{"service": "web", "env": [{"name": "LEVEL", "value": level}]}]
        document["policy"]["access"] = {"owners": owners, "readers": readers}
        return json.dumps(document, indent=1)

    def merge(self, folder: Path, subject: str) -> None:
        """Push a change to main, as a merged pull request does."""
        self.git(folder, "add", "-A")
        self.git(folder, "commit", "-qm", subject)
        self.git(folder, "push", "-q", "origin", "HEAD:main")


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    found = Pipeline(tmp_path, address, "")
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    directory = tmp_path / "cas"
    must(found.call("sconectl", "cas", "serve", "--dir", directory, "--listen", address, "--detach"))
    try:
        shown = must(found.call("sconectl", "cas", "show-identification", address, "--cas-config", tmp_path / "me"))
        found.cas_key = shown.out.strip()
        found.git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
        yield found
    finally:
        found.call("sconectl", "cas", "stop", "--dir", directory)


@pytest.fixture
def applied(pipeline: Pipeline) -> Pipeline:
    """The pipeline after the first merge, with the first job on main done."""
    folder = pipeline.clone("first")
    (folder / "ci").mkdir()
    (folder / "ci" / "sconectl.sh").write_text(block("ci/sconectl.sh"))
    (folder / ".gitignore").write_text("/target\n/plan.md\n")
    pipeline.write(folder)
    pipeline.merge(folder, "Sell things")
    done = must(pipeline.job(pipeline.clone("job"), "apply", "ci-owner"))
    assert "session shop/web: created" in done.out
    return pipeline


def log(pipeline: Pipeline) -> list[str]:
    return pipeline.git(pipeline.clone("look"), "log", "--format=%s").splitlines()


def audit(pipeline: Pipeline, *words: str) -> Outcome:
    config = ("--cas-config", pipeline.root / "ci-reader")
    return pipeline.call("sconectl", "audit", "-f", "mesh.yaml", *config, *words, cwd=pipeline.clone("look"))


def proposed(pipeline: Pipeline, *more_readers: str, **change: Any) -> Path:
    """Return a clone as the job of a pull request with this change gets it."""
    dev = pipeline.clone("dev")
    pipeline.git(dev, "checkout", "-q", "-b", "proposal")
    pipeline.write(dev, *more_readers, **change)
    pipeline.git(dev, "commit", "-qam", "Propose")
    pipeline.git(dev, "push", "-qf", "origin", "HEAD:proposal")
    job = pipeline.clone("job")
    pipeline.git(job, "checkout", "-q", "origin/proposal")
    return job


def test_a_change_from_the_pull_request_to_the_record(applied: Pipeline) -> None:
    assert log(applied) == ["Record what was applied [skip ci]", "Sell things"]
    assert must(audit(applied)).out.count('"Record what was applied [skip ci]"') == 2
    dev = applied.clone("dev")
    applied.git(dev, "checkout", "-q", "-b", "more")
    applied.write(dev, measurement="02" * 32, level="debug")
    applied.git(dev, "commit", "-qam", "Say more")
    checked = must(applied.job(dev, "check", "ci-reader"))
    assert "shop/web" in (dev / "plan.md").read_text(), checked.text
    assert applied.call("sconectl", "lock", "--check", "-f", ".", cwd=dev).code == 4
    applied.git(dev, "push", "-q", "origin", "HEAD:main")
    done = must(applied.job(applied.clone("job"), "apply", "ci-owner"))
    assert "session shop/web: updated" in done.out
    assert log(applied)[:2] == ["Record what was applied [skip ci]", "Say more"]
    assert "agrees with" in must(applied.call("sconectl", "lock", "--check", "-f", ".", cwd=applied.root / "look")).out
    before = log(applied)
    again = must(applied.job(applied.clone("job"), "apply", "ci-owner"))
    assert "session shop/web: unchanged" in again.out
    assert log(applied) == before


def test_what_loses_a_secret_or_weakens_stops_the_pull_request(applied: Pipeline) -> None:
    loses = proposed(applied, secret={**PASSWORD, "size": 12})
    refused = applied.job(loses, "check", "ci-reader")
    assert refused.code == 7, refused.text
    assert "SC2022" in refused.err
    assert "drawn anew" in (loses / "plan.md").read_text()
    must(applied.job(loses, "check", "ci-reader", "--allow-secret-loss", "password"))
    weakens = proposed(applied, applied.identity("stranger"))
    refused = applied.job(weakens, "check", "ci-reader")
    assert refused.code == 7, refused.text
    assert "SC5062" in refused.err + (weakens / "plan.md").read_text()
    invalid = applied.clone("job")
    (invalid / "mesh.yaml").write_text("kind: mesh")
    assert applied.job(invalid, "check", "ci-reader").code == 3
    assert log(applied) == ["Record what was applied [skip ci]", "Sell things"]


def test_what_was_changed_by_hand_stops_the_job_on_main(applied: Pipeline) -> None:
    me = ("--cas", applied.address, "--cas-config", applied.root / "me")
    text = must(applied.call("sconectl", "session", "read", "shop/web", *me)).out
    session = YAML(typ="safe").load(text.replace("LEVEL: info", "LEVEL: trace"))
    changed = {key: value for key, value in session.items() if key not in ("predecessor", "creator")}
    (applied.root / "session.yaml").write_text(json.dumps(changed))
    must(applied.call("sconectl", "session", "update", applied.root / "session.yaml", *me))
    assert audit(applied).code == 7
    job = applied.clone("job")
    stopped = applied.job(job, "apply", "ci-owner")
    assert stopped.code == 7, stopped.text
    assert "shop/web  v2" in stopped.out and "NO COMMIT" in stopped.out
    assert log(applied)[0] == "Record what was applied [skip ci]"  # what was put right is on record
    assert must(audit(applied, "--since", "HEAD")).out.count("before HEAD") == 2


def test_a_job_that_was_cut_off_is_run_again(applied: Pipeline) -> None:
    dev = applied.clone("dev")
    applied.write(dev, level="debug")
    applied.merge(dev, "Say more")
    job = applied.clone("job")
    hooks = applied.root / "origin.git" / "hooks"
    hook = hooks / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert applied.job(job, "apply", "ci-owner").code != 0
    assert audit(applied).code == 7
    hook.unlink()
    must(applied.job(applied.clone("job"), "apply", "ci-owner"))
    assert log(applied)[:2] == ["Record what was applied [skip ci]", "Say more"]
    must(audit(applied))


def test_main_that_moved_meanwhile(applied: Pipeline) -> None:
    dev, job = applied.clone("dev"), applied.clone("job")
    applied.write(dev, level="debug")
    applied.merge(dev, "Say more")
    job = applied.clone("job")
    (dev / "README").write_text("about")
    applied.merge(dev, "Explain")
    must(applied.job(job, "apply", "ci-owner"))
    assert log(applied)[:3] == ["Record what was applied [skip ci]", "Explain", "Say more"]


def test_who_may_do_what(applied: Pipeline) -> None:
    change = proposed(applied, level="debug")
    assert applied.job(change, "apply", "ci-reader").code == 6
    stranger = applied.identity("stranger")
    assert stranger and applied.job(change, "check", "stranger").code == 6


def test_the_identity_is_private_and_gone_afterwards(applied: Pipeline) -> None:
    """A program in front of sconectl looks at the file that the script makes."""
    spy, seen = applied.root / "spy", applied.root / "seen"
    spy.mkdir()
    (spy / "sconectl").write_text(
        "#!/bin/sh\n"
        f'[ "$1" = plan ] && stat -c "%a %a" "$TMPDIR"/*/ "$TMPDIR"/*/identity.pem >"{seen}"\n'
        f'[ -z "${{SCONECTL_IDENTITY-}}" ] && exec "{SCONECTL}" "$@"\n'
    )
    (spy / "sconectl").chmod(0o755)
    pem = (applied.root / "ci-reader" / "identity.pem").read_text()
    words = ("sh", "ci/sconectl.sh", "check", "main", "--facts", "facts")
    path = f"{spy}{os.pathsep}{applied.environment['PATH']}"
    temporary = applied.root / "tmp"
    must(applied.call(*words, cwd=applied.clone("job"), SCONECTL_IDENTITY=pem, TMPDIR=str(temporary), PATH=path))
    assert seen.read_text().split() == ["700", "700", "600", "600"]
    assert list(temporary.iterdir()) == []
    assert (
        applied.call("sh", "ci/sconectl.sh", "deploy", "main", cwd=applied.root / "job", SCONECTL_IDENTITY="").code == 2
    )


def test_the_jobs_call_the_script() -> None:
    github = YAML(typ="safe").load(block(".github/workflows/sconectl.yml"))
    gitlab = YAML(typ="safe").load(block(".gitlab-ci.yml"))
    steps = [step for job in github["jobs"].values() for step in job["steps"]]
    said = [step.get("run", "") for step in steps] + gitlab["check"]["script"] + gitlab["apply"]["script"]
    calls = [text.split()[2] for text in said if text.startswith("sh ci/sconectl.sh ")]
    assert calls == ["check", "apply", "check", "apply"]
    checkout = github["jobs"]["apply"]["steps"][0]
    assert checkout["with"]["fetch-depth"] == 0 and gitlab["apply"]["variables"]["GIT_DEPTH"] == "0"
    assert github["jobs"]["apply"]["concurrency"]["cancel-in-progress"] is False
