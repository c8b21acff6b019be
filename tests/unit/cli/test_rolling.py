"""Rolling out a new version of a service, on the embedded CAS: which pods start, and with what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import facts, mesh_text, record

from sconectl.cas.attest.quotes import report_data_for
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.disk.directory_lock import writer
from sconectl.cas.local import LocalCas
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasUnreachable
from sconectl.ports import Receipt
from sconectl.text.yaml_tree import parse

from .conftest import Outcome, Run

PASSWORD = {"name": "password", "kind": "ascii", "size": 10}
ONE, TWO, THREE = "01" * 32, "02" * 32, "03" * 32
Pod = tuple[str, str]
"""The configuration id that the chart gives a pod, and what its image measures."""


class Shop:
    """A mesh of `web`, whose secret `db` imports; each apply leaves a chart that begins pods."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.run = folder, run
        (folder / "facts").mkdir()

    def write(
        self,
        measurement: str = ONE,
        *,
        secret: dict[str, Any] = PASSWORD,
        imports: bool = True,
        stable: tuple[str, ...] = (),
        command: str = "python3 main.py",
        level: str = "info",
        db: str = "0d" * 32,
        policy: str = "",
    ) -> None:
        """Write the manifests of a version; `imports` says whether db needs the secret of web."""
        web = facts(
            "web",
            command=f"{command} {measurement[:2]}",
            secrets={"global": [secret]},
            environment={"local": [{"name": "SECRET", "value": f"$$SCONE::{secret['name']}$$"}]},
            injection_files=[{"path": "/etc/web", "content": f"{measurement[:2]} $$SCONE::{secret['name']}$$"}],
        )
        web = web.model_copy(update={"measurement": measurement, "stable": stable})
        used = {"local": [{"name": "SECRET", "value": "$$SCONE::password$$"}]} if imports else {"local": []}
        found = facts(
            "db",
            secrets={"import": ["password"] if imports else []},
            environment=used | {"global": [{"name": "LEVEL", "value": level}]},
        ).model_copy(update={"measurement": db})
        for image in (web, found):
            Path(f"facts/{image.name}.json").write_text(record(image).to_text())
        text = mesh_text(["web", "db"]).replace("cas.example.org", "local")
        if policy:
            Path("policy.yaml").write_text(policy)
            text = text.replace("- name: web\n", "- name: web\n    image_policy: policy.yaml\n")
        Path("mesh.yaml").write_text(text)

    def apply(self, *words: str, code: int = 0) -> Outcome:
        done = self.run("apply", "-f", "mesh.yaml", "--facts", "facts", *words)
        assert done.code == code, done.err
        return done

    def plan(self, *words: str) -> Outcome:
        return self.run("plan", "-f", "mesh.yaml", "--facts", "facts", *words)

    def pod(self, name: str = "web") -> Pod:
        """Return the pod that the chart in target/helm begins."""
        values: Any = parse(Path(f"target/helm/charts/{name}/values.yaml").read_text(), "values").value
        return values["scone"]["configId"], values["scone"]["measurement"]

    def chart(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in Path("target/helm").rglob("*") if path.is_file()}

    def start(self, pod: Pod) -> dict[str, Any]:
        """Start a pod, and return its configuration."""
        with self.cas() as cas:
            report = {"toolchain": "sim", "measurement": pod[1], "debug": False, "report_data": report_data_for(b"pod")}
            found: dict[str, Any] = cas.enclaves.attest(pod[0], cas.enclaves.quote(report)["quote"], b"pod")["config"]
            found.pop("session_hash", None)
            return found

    def sessions(self) -> list[Any]:
        """Return the sessions of the services as the CAS has them."""
        read = [self.run("session", "read", f"shop/{name}", "--cas", "local").out for name in ("web", "db")]
        return [parse(text, "session").value for text in read]

    def refusal(self, pod: Pod) -> str:
        with pytest.raises(CasRefusal) as caught:
            self.start(pod)
        return " ".join(caught.value.causes)

    @contextmanager
    def cas(self) -> Iterator[EmbeddedCas]:
        directory = self.folder.parent / "data/sconectl/cas"
        with writer(directory, 5.0):
            cas = EmbeddedCas(directory)
            try:
                yield cas
            finally:
                cas.close()


@pytest.fixture
def shop(project: Path, run: Run) -> Shop:
    made = Shop(project, run)
    made.write()
    made.apply()
    return made


def test_old_and_new_pods_start_each_with_its_own(shop: Shop) -> None:
    old = shop.pod()
    before = shop.start(old)
    assert before["argv"] == ["python3", "main.py", "01"]
    of_db = Path("target/helm/charts/db/values.yaml").read_bytes()
    shop.write(TWO)
    done = shop.apply("--rolling")
    assert Path("target/helm/charts/db/values.yaml").read_bytes() == of_db
    assert "is not finished" not in done.err
    assert "old pods start, too (shop/web v1), until `sconectl apply --finish`" in done.err
    new = shop.pod()
    assert (old, new) == (("shop/web/python3", ONE), ("shop/web/python3-v2", TWO))
    assert shop.start(old) == before
    after = shop.start(new)
    assert after["argv"] == ["python3", "main.py", "02"]
    assert after["environment"]["SECRET"] == before["environment"]["SECRET"]
    assert after["files"] != before["files"]
    assert "Unexpected enclave" in shop.refusal((new[0], ONE))
    assert "Unexpected enclave" in shop.refusal((old[0], TWO))


def test_a_plan_compares_the_new_version_with_the_old_one_and_not_with_both(shop: Shop) -> None:
    """An ordinary update of a program weakens nothing, whatever number it has; a secret for more does."""
    for measurement in (TWO, THREE):
        shop.write(measurement)
        told = shop.plan("--rolling", "--fail-on", "weakens,secret-loss")
        assert told.code == 0, told.err
        changes = told.out[told.out.index("CHANGES") : told.out.rindex("FILES")]
        assert "service python3: " in changes
        assert "-v" not in changes.replace("shop/", "")
        done = shop.apply("--rolling")
        assert "weakened" not in done.out
        assert "python3-v" not in done.out
    shop.write(THREE, secret={**PASSWORD, "export": [{"namespace": "shop"}]})
    refused = shop.plan("--rolling", "--fail-on", "weakens")
    assert refused.code == 7
    assert "every session in namespace shop may import it" in refused.err
    shop.write(THREE)
    finished = shop.plan("--finish").out
    assert "+ shop/web service python3-v2: " in " ".join(finished.split())


def test_the_same_again_changes_nothing_and_reminds(shop: Shop) -> None:
    shop.write(TWO)
    assert "update     shop/web (CAS local), v1 and v2 start" in shop.plan("--rolling").out
    shop.apply("--rolling")
    chart = shop.chart()
    for words in ((), ("--rolling",)):
        again = shop.apply(*words)
        assert again.out.count(": unchanged (CAS local)") == 3, again.out
        assert "target: unchanged" in again.out
        assert "the rollout of shop/web from v1 to v2 is not finished" in again.err
        assert "SC2025" in again.err
    assert shop.chart() == chart
    told = shop.plan()
    assert "from v1 to v2 is not finished" in told.err
    assert shop.plan("--detailed-exitcode").code == 0
    found = json.loads(shop.plan("--output", "json").out)
    assert [(each["code"], each["severity"]) for each in found["findings"]] == [("SC2025", "warning")]
    sessions = {session["name"]: session.get("rollout") for session in found["sessions"]}
    assert sessions == {"shop": None, "shop/web": {"from": 1, "to": 2}, "shop/db": None}
    line = r"Until `sconectl apply --finish`, pods of v1 and v2 of shop/web start."
    assert line in shop.plan("--output", "markdown").out


def test_finish_refuses_old_pods_and_restarts_none(shop: Shop) -> None:
    old = shop.pod()
    shop.write(TWO)
    shop.apply("--rolling")
    new, chart, running = shop.pod(), shop.chart(), shop.start(shop.pod())
    told = shop.plan("--finish")
    changes = " ".join(told.out[told.out.index("CHANGES") :].split())
    assert "+ shop/web service python3: is removed; no enclave may run it" in changes
    assert "!" not in changes
    done = shop.apply("--finish")
    assert "session shop/web: updated" in done.out
    assert "not finished" not in done.err
    assert shop.chart() == chart
    assert shop.start(new) == running
    assert "Service not found" in shop.refusal(old)
    assert shop.apply("--finish").out.count(": unchanged (CAS local)") == 3
    assert shop.apply().out.count(": unchanged (CAS local)") == 3
    assert shop.chart() == chart


def test_a_third_version_takes_the_first_away(shop: Shop) -> None:
    pods = [shop.pod()]
    for number, measurement in ((2, TWO), (3, THREE)):
        shop.write(measurement)
        shop.apply("--rolling")
        pods.append(shop.pod())
        assert pods[-1][0] == f"shop/web/python3-v{number}"
    assert "Service not found" in shop.refusal(pods[0])
    assert [shop.start(pod)["argv"][-1] for pod in pods[1:]] == ["02", "03"]


def test_without_the_option_the_version_is_replaced_where_it_is(shop: Shop) -> None:
    old = shop.pod()
    shop.write(TWO)
    shop.apply()
    assert shop.pod()[0] == old[0]
    assert "Unexpected enclave" in shop.refusal(old)
    shop.write(THREE)
    shop.apply("--rolling")
    shop.write("04" * 32)
    shop.apply()
    assert shop.pod() == ("shop/web/python3-v2", "04" * 32)
    assert shop.start((old[0], TWO))["argv"][-1] == "02"


def test_a_secret_that_only_old_pods_use_stays_until_they_are_gone(shop: Shop) -> None:
    """Also where the old pods are those of another service, which imports it."""
    old, db = shop.pod(), shop.pod("db")
    before, of_db = shop.start(old), shop.start(db)
    shop.write(TWO, secret={"name": "token", "kind": "ascii"}, imports=False, db="0e" * 32)
    shop.apply("--rolling")
    assert (shop.start(old), shop.start(db)) == (before, of_db)
    assert shop.start(shop.pod())["environment"]["SECRET"] != before["environment"]["SECRET"]
    refused = shop.apply("--finish", code=7)
    assert "secret password of session shop/web is in use, and would be lost" in refused.err
    shop.apply("--finish", "--allow-secret-loss", "password")
    assert "Service not found" in shop.refusal(db)


def test_what_cannot_overlap_is_said_before_anything_is_written(shop: Shop) -> None:
    old = shop.pod()
    before, chart = shop.start(old), shop.chart()
    shop.write(TWO, secret={**PASSWORD, "size": 12})
    refused = shop.apply("--rolling", code=4)
    assert "SC2024" in refused.err
    assert "mesh.yaml:" in refused.err
    assert "secret password differs: its size was 10, and is 12" in refused.err
    assert "give the new one another name" in refused.err
    assert shop.plan("--rolling").code == 4
    assert (shop.start(old), shop.chart()) == (before, chart)


def test_another_given_value_cannot_overlap_and_is_not_shown(shop: Shop) -> None:
    shop.write(secret={"name": "password", "kind": "ascii", "value": "first-value"})
    shop.apply("--allow-secret-loss", "password")
    for measurement in (TWO, ONE):  # the image, and the value alone
        shop.write(measurement, secret={"name": "password", "kind": "ascii", "value": "other-value"})
        refused = shop.apply("--rolling", code=4)
        assert "secret password differs: it has another value" in refused.err
        assert "-value" not in refused.out + refused.err
    shop.apply()


def test_release_numbers_say_what_overlaps(shop: Shop) -> None:
    old = shop.pod()
    shop.write(TWO)
    shop.apply("--release-version", "7")
    assert shop.pod()[0] == "shop/web/python3-v7"
    assert shop.start(old)["argv"][-1] == "01"
    again = shop.apply("--release-version", "7")
    assert again.out.count(": unchanged (CAS local)") == 3
    older = shop.apply("--release-version", "6", code=4)
    assert "the CAS has version 7 already, and 6 is older" in older.err
    shop.apply("--release-version", "8")  # nothing changes, and what was before 7 is over
    assert shop.pod()[0] == "shop/web/python3-v7"
    assert "Service not found" in shop.refusal(old)
    shop.write(THREE)
    shop.apply("--release-version", "9")
    assert [shop.start(("shop/web/python3-v7", TWO))["argv"][-1], shop.start(shop.pod())["argv"][-1]] == ["02", "03"]


def test_a_stable_image_rolls_by_itself(shop: Shop) -> None:
    old = shop.pod()
    before = shop.start(old)
    shop.write(TWO, stable=(ONE,))
    shop.apply()
    assert shop.start(old) == before
    new = shop.pod()
    assert shop.start(new)["argv"][-1] == "02"
    assert "Unexpected enclave" in shop.refusal((new[0], ONE))
    assert shop.apply().out.count(": unchanged (CAS local)") == 3
    shop.apply("--finish")
    assert "Service not found" in shop.refusal(old)
    assert shop.apply().out.count(": unchanged (CAS local)") == 3
    assert shop.pod() == new


def test_finish_changes_nothing_else(shop: Shop) -> None:
    shop.write(TWO)
    shop.apply("--rolling")
    shop.write(THREE)
    refused = shop.apply("--finish", code=4)
    assert "the manifests say something else than the CAS" in refused.err
    assert shop.run("apply", "-f", "mesh.yaml", "--finish", "--rolling").code == 2


def test_a_new_program_is_a_version_of_the_same_service(shop: Shop) -> None:
    old = shop.pod()
    shop.write(TWO, command="gunicorn main.py")
    shop.apply("--rolling")
    assert shop.pod()[0] == "shop/web/gunicorn-v2"
    assert [shop.start(pod)["argv"][0] for pod in (old, shop.pod())] == ["python3", "gunicorn"]


def test_signed_sessions_hold_one_version(shop: Shop) -> None:
    text = Path("mesh.yaml").read_text()
    Path("mesh.yaml").write_text(text.replace("cas_url: local", "cas_url: local\n    mode: SignedManifest"))
    refused = shop.apply("--rolling", code=4)
    assert "in mode SignedManifest the sessions are not uploaded here" in refused.err
    assert "cas[0].mode" in refused.err
    told = shop.apply("--release-version", "3")
    assert "no session is looked up in a CAS" in told.err


def test_a_run_that_was_cut_off_is_finished_by_the_next(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both services belong to one rollout then, which is taken back as one; so is one whose way back was cut off."""
    upload = LocalCas.upload

    def fail(self: LocalCas, text: str) -> Receipt:
        if "name: shop/db" in text:
            raise CasUnreachable("the CAS is gone")
        return upload(self, text)

    old = [shop.pod(), shop.pod("db")]
    before = [shop.start(pod) for pod in old]
    shop.write(TWO, db="0e" * 32)
    monkeypatch.setattr(LocalCas, "upload", fail)
    shop.apply("--rolling", code=6)
    monkeypatch.setattr(LocalCas, "upload", upload)
    shop.apply("--rolling")
    assert [shop.pod()[0], shop.pod("db")[0]] == ["shop/web/python3-v2", "shop/db/python3-v2"]
    shop.apply("--finish")
    monkeypatch.setattr(LocalCas, "upload", fail)
    assert shop.run("rollback", "-f", "mesh.yaml").code == 6
    monkeypatch.setattr(LocalCas, "upload", upload)
    assert shop.run("rollback", "-f", "mesh.yaml").code == 0
    assert [shop.start(pod) for pod in old] == before
    assert [session["services"][0]["name"] for session in shop.sessions()] == ["python3", "python3"]


def test_versions_that_cannot_be_told_apart(shop: Shop) -> None:
    shop.write(TWO, policy="services: [{name: python3, image_name: other}]\nimages: [{name: other}]")
    refused = shop.apply("--rolling", code=4)
    assert "no service has the image_name web, by which versions are told" in refused.err
    shop.apply()
    assert "no service has the image_name web" in shop.apply("--rolling", code=4).err


def test_other_services_of_a_policy_template_have_one_version(shop: Shop) -> None:
    tool = "services: [{name: beside, command: tool %s, attestation: [{mrenclave: ['" + "0e" * 32 + "']}]}]"
    shop.write(ONE, policy=tool % 1)
    shop.apply()
    old, beside = shop.pod(), ("shop/web/beside", "0e" * 32)
    shop.write(TWO, policy=tool % 1)
    shop.apply("--rolling")
    assert [shop.start(pod)["argv"][-1] for pod in (old, shop.pod(), beside)] == ["01", "02", "1"]
    shop.write(THREE, policy=tool % 2)
    assert "service beside changes, and has no version of its own" in shop.apply("--rolling", code=4).err


def test_a_policy_template_may_take_the_service_away(shop: Shop) -> None:
    shop.write(TWO, stable=(ONE,), policy="services: null")
    old = shop.pod()
    shop.apply()
    assert shop.start(old)["argv"][-1] == "01"
    assert "Service not found" in shop.refusal(shop.pod())
