"""Services that are renamed or taken out: their sessions are told, and retired with --prune, on the embedded CAS."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import facts, mesh_text, record

from sconectl.cas.attest.quotes import report_data_for
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.disk.directory_lock import writer
from sconectl.cas.local import LocalCas
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasRefused, CasUnreachable
from sconectl.policy.reading import Export, parse_session
from sconectl.policy.retired import is_retired
from sconectl.policy.serialized.canonical import read_back
from sconectl.ports import ListedSession, Receipt, StoredSession

from .conftest import Outcome, Run

PASSWORD: dict[str, Any] = {"name": "password", "kind": "ascii", "size": 10}
KEYS: list[dict[str, Any]] = [
    PASSWORD,
    {"name": "ca-key", "kind": "private-key"},
    {"name": "ca", "kind": "x509-ca", "private_key": "ca-key", "export_public": True},
]
SEEN = {"local": [{"name": "SECRET", "value": "$$SCONE::password$$"}]}
ONE, TWO, OTHER = "01" * 32, "02" * 32, "0d" * 32
FIRST = "registry.example.org/web:1"


class Shop:
    """A mesh whose service `web` makes secrets that `db` imports; each service has its own measurement."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.run = folder, run
        (folder / "facts").mkdir()
        self.cas_directory = folder.parent / "data/sconectl/cas"
        self.store = LocalCas(self.cas_directory, CasConfig(folder.parent / "home/.cas"))

    def write(
        self,
        services: Sequence[str] = ("web", "db"),
        *,
        image: str = "web",
        secrets: Sequence[dict[str, Any]] = KEYS,
        imports: bool = True,
        measurement: str = ONE,
        renamed_from: str = "",
        file: str = "mesh.yaml",
    ) -> None:
        """Write a mesh of these services; all but db are made from `image`."""
        web = facts(image, secrets={"global": list(secrets)}, environment=SEEN)
        used = SEEN if imports and len(services) > 1 else {}
        db = facts("db", secrets={"import": ["password"] if used else []}, environment=used)
        for found, measured in ((web, measurement), (db, OTHER)):
            found = found.model_copy(update={"measurement": measured})
            Path(f"facts/{found.name}.json").write_text(record(found).to_text())
        text = mesh_text(services).replace("cas.example.org", "local")
        for service in services:
            if service != "db":
                text = text.replace(f"registry.example.org/{service}:1", f"registry.example.org/{image}:1")
        if renamed_from:
            text = text.replace(
                f"- name: {services[0]}\n", f"- name: {services[0]}\n    renamed_from: {renamed_from}\n"
            )
        Path(file).write_text(text)

    def apply(self, *words: str, code: int = 0, file: str = "mesh.yaml") -> Outcome:
        done = self.run("apply", "-f", file, "--facts", "facts", *words)
        assert done.code == code, done.err
        return done

    def plan(self, *words: str, code: int = 0) -> Outcome:
        done = self.run("plan", "-f", "mesh.yaml", "--facts", "facts", *words)
        assert done.code == code, done.err
        return done

    def orphans(self, *words: str) -> dict[str, Any]:
        return {each["name"]: each for each in json.loads(self.plan("--output", "json", *words).out)["orphans"]}

    def state(self, name: str) -> str:
        stored = self.store.read(name)
        assert stored is not None
        return "retired" if is_retired(parse_session(stored.text)) else "active"

    def start(self, config_id: str, measurement: str) -> dict[str, Any]:
        with self.cas() as cas:
            report = {"toolchain": "sim", "measurement": measurement, "debug": False}
            quote = cas.enclaves.quote({**report, "report_data": report_data_for(b"pod")})["quote"]
            found: dict[str, Any] = cas.enclaves.attest(config_id, quote, b"pod")["config"]
            return found

    @contextmanager
    def cas(self) -> Iterator[EmbeddedCas]:
        with writer(self.cas_directory, 5.0):
            cas = EmbeddedCas(self.cas_directory)
            try:
                yield cas
            finally:
                cas.close()

    def locked(self, file: str = "sconectl.lock") -> list[str]:
        return sorted(json.loads(Path(file).read_text())["meshes"]["shop"]["sessions"])


@pytest.fixture
def shop(project: Path, run: Run) -> Shop:
    made = Shop(project, run)
    made.write()
    made.apply()
    return made


def test_nothing_is_said_where_nothing_is_left(shop: Shop) -> None:
    done, plan = shop.apply(), shop.plan("--fail-on", "orphans")
    assert "SC2026" not in done.err + plan.err
    assert "note: written" not in done.err
    assert "LEFT BEHIND" not in plan.out
    assert shop.orphans() == {}


def test_a_service_that_is_taken_out_is_told_with_what_it_still_gives(shop: Shop) -> None:
    shop.write(("db",), imports=False)
    (orphan,) = shop.orphans().values()
    assert (orphan["name"], orphan["origin"], orphan["state"]) == ("shop/web", "mesh", "stays")
    assert orphan["services"] == [{"name": "python3", "measurements": [ONE]}]
    assert {each["name"]: each["for"] for each in orphan["secrets"]} == {
        "password": ["session shop/db", "service python3"],
        "ca": ["everybody"],
    }
    told = shop.plan()
    text = " ".join(told.out[told.out.index("LEFT BEHIND") :].split())
    assert "stays shop/web: this mesh wrote it" in text
    assert f"python3 (measurement {ONE}) may start" in text
    assert "secret password for session shop/db, service python3" in text
    assert "mesh.yaml:" in told.err and "warning SC2026: policy.namespace" in told.err
    assert "sconectl apply --prune" in told.err
    refused = shop.plan("--fail-on", "orphans", code=7)
    assert "error SC2026" in refused.err
    row = next(line for line in shop.plan("--output", "markdown").out.splitlines() if "shop/web" in line)
    assert row.startswith("| :warning: stays | shop/web | this mesh wrote it | python3")
    assert "SC2026" in shop.apply().err
    assert shop.start("shop/web/python3", ONE)["environment"]["SECRET"]
    assert "SC2026" in shop.apply().err, "the lock must not forget it"
    assert "shop/web" in shop.locked()


def test_prune_retires_it_once_and_the_lock_forgets_it_then(shop: Shop) -> None:
    shop.write(("db",), imports=False)
    shop.apply()
    assert shop.orphans("--prune")["shop/web"]["state"] == "retire"
    shop.plan("--prune", "--fail-on", "orphans,secret-loss")
    assert shop.plan("--prune", "--detailed-exitcode", code=2)
    assert "| retired | shop/web |" in shop.plan("--prune", "--output", "markdown").out
    assert shop.state("shop/web") == "active"
    done = shop.apply("--prune")
    assert "session shop/web: retired (CAS local)" in done.out
    assert "SC2026" not in done.err
    assert shop.locked() == ["shop", "shop/db"]
    assert shop.state("shop/web") == "retired"
    with pytest.raises(CasRefusal):
        shop.start("shop/web/python3", ONE)
    with shop.cas() as cas, pytest.raises(CasRefusal):
        cas.public_value("shop/web", "ca")
    again = shop.apply("--prune", "--prune-session", "shop/web")
    assert "retired" not in again.out
    assert "sconectl.lock: unchanged" in again.out
    assert "shop/web" not in again.err
    assert shop.plan("--prune", "--detailed-exitcode").code == 0


def test_an_importer_gets_nothing_any_more(shop: Shop) -> None:
    shop.write(("web",), secrets=KEYS)
    shop.apply()  # db is an orphan that imports from web, which no longer exports
    shop.write(("db",), imports=False)
    shop.write(("other",), image="other", measurement=TWO)
    text = "name: guest\nversion: '0.3.12'\nsecrets: [{name: got, import: {session: shop/web, secret: password}}]\n"
    text += f"services: [{{name: app, mrenclaves: ['{TWO}'], environment: {{GOT: $$SCONE::got$$}}}}]\n"
    shop.store.put(text + "security: {attestation: {mode: simulation}}\n")
    stored = shop.store.read("shop/web")
    assert stored
    session = parse_session(stored.text)
    secrets = tuple(
        secret.model_copy(update={"export": (Export(session="guest"),)}) if secret.name == "password" else secret
        for secret in session.secrets
    )
    shop.store.put(read_back(session.model_copy(update={"predecessor": stored.hash, "secrets": secrets})))
    assert shop.start("guest/app", TWO)["environment"]["GOT"]
    done = shop.apply("--prune")
    assert "retired" in done.out, "db"
    assert shop.state("shop/web") == "active", "it was changed since, by somebody"
    assert "SC2026" in done.err and "changed since" in done.err
    assert "--prune-session shop/web" in done.err
    shop.apply("--prune-session", "shop/web")
    with pytest.raises(CasRefusal):
        shop.start("guest/app", TWO)


def test_a_rename_is_recognised_and_its_price_is_told(shop: Shop) -> None:
    shop.write(("shop-front", "db"), image="web")
    (orphan,) = shop.orphans().values()
    assert orphan["renamed_to"] == "shop/shop-front"
    assert orphan["drawn_anew"] == ["password", "ca-key", "ca"]
    told = shop.plan()
    assert "Service web looks like it was renamed to shop-front" in told.err
    assert "new values of password, ca-key, ca" in told.err
    assert "to keep the values, put `renamed_from: web` into service shop-front" in told.err
    old = shop.start("shop/web/python3", ONE)["environment"]["SECRET"]
    done = shop.apply("--prune")
    assert done.out.index("shop/shop-front: created") < done.out.index("shop/web: retired")
    assert shop.start("shop/shop-front/python3", ONE)["environment"]["SECRET"] != old
    with pytest.raises(CasRefusal):
        shop.start("shop/web/python3", ONE)
    before = shop.store.read("shop/web")
    assert before and parse_session(before.text).predecessor
    assert [secret.name for secret in parse_session(before.text).secrets] == ["password", "ca-key"], "kept, for nobody"


def test_a_rename_with_a_new_build_is_recognised_by_the_image(shop: Shop) -> None:
    shop.write(("front", "db"), image="web", measurement=TWO)
    assert shop.orphans()["shop/web"]["renamed_to"] == "shop/front"
    shop.write(("front", "db"), image="web", measurement=TWO, secrets=[{**PASSWORD, "name": "password"}])
    assert shop.orphans()["shop/web"]["renamed_to"] is None


def test_a_service_that_says_what_it_was_called_keeps_its_values(shop: Shop) -> None:
    before = [shop.start(*pod) for pod in (("shop/web/python3", ONE), ("shop/db/python3", OTHER))]
    shop.write(("front", "db"), image="web", renamed_from="web")
    assert shop.orphans() == {}
    shop.plan("--fail-on", "orphans,secret-loss,weakens")
    done = shop.apply("--prune")
    assert done.out.count(": unchanged (CAS local)") == 3
    assert [shop.start(*pod) for pod in (("shop/web/python3", ONE), ("shop/db/python3", OTHER))] == before
    assert "configId: shop/web/python3\n" in Path("target/helm/charts/front/values.yaml").read_text()
    assert not Path("target/helm/charts/web").exists()
    shop.write(("front", "db"), image="web", renamed_from="web", measurement=TWO)
    shop.apply("--rolling")
    assert shop.start("shop/web/python3", ONE)["environment"] == before[0]["environment"]
    assert shop.start("shop/web/python3-v2", TWO)["environment"] == before[0]["environment"]
    assert "taken back" in shop.run("rollback", "-f", "mesh.yaml", "--service", "front").out


def test_values_come_back_with_the_first_name_even_after_prune(shop: Shop) -> None:
    before = shop.start("shop/db/python3", OTHER)["environment"]["SECRET"]
    shop.write(("front", "db"), image="web")
    shop.apply("--prune")
    assert shop.state("shop/web") == "retired"
    assert shop.start("shop/db/python3", OTHER)["environment"]["SECRET"] != before
    shop.write(("front", "db"), image="web", renamed_from="web")
    assert "no service owns session shop/front any more" in shop.apply().err
    assert shop.start("shop/db/python3", OTHER)["environment"]["SECRET"] == before


def test_two_services_cannot_have_one_session(shop: Shop) -> None:
    shop.write(("front", "web"), image="web", renamed_from="web")
    refused = shop.apply(code=4)
    assert "error SC2002: services[1].name: service front has the session web already" in refused.err


def test_two_meshes_in_one_namespace_leave_each_other_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its lock; and two that write into one lock are told apart by their files."""
    shop.write(("api",), image="api", secrets=[PASSWORD], measurement=TWO, file="second.yaml")
    done = shop.apply("--prune", "--lock", "second.lock", file="second.yaml")
    assert "retired" not in done.out
    assert "SC2026" not in done.err
    assert "note: written by somebody else, or before there was a lock: shop/db, shop/web" in done.err
    first = shop.apply("--prune")
    assert "SC2026" not in first.err
    assert shop.orphans()["shop/api"]["origin"] == "unknown"
    shop.plan("--fail-on", "orphans")
    together = shop.apply("--prune", file="second.yaml")  # into the lock of the first
    assert "retired" not in together.out
    assert [shop.state(name) for name in ("shop/web", "shop/db", "shop/api")] == ["active"] * 3


def test_a_service_that_moved_to_another_mesh_is_not_retired_by_the_first(shop: Shop) -> None:
    shop.write(("web",), secrets=[PASSWORD], file="second.yaml", measurement=TWO)
    shop.apply("--lock", "second.lock", "--allow-secret-loss", "ca-key", file="second.yaml")
    shop.write(("db",), imports=False)
    done = shop.apply("--prune")
    assert "retired" not in done.out
    assert "changed since" in done.err
    assert shop.start("shop/web/python3", TWO)["environment"]["SECRET"]


def test_a_nested_mesh_in_the_same_lock_owns_its_sessions(shop: Shop) -> None:
    shop.write(("web",), secrets=[PASSWORD], file="second.yaml")
    shop.apply("--policy-namespace", "shop/inner", file="second.yaml")
    assert shop.orphans() == {}
    refused = shop.apply("--prune-session", "shop/inner", code=4)
    assert "belongs to another mesh" in refused.err


def test_without_its_lock_a_session_is_retired_by_name_only(shop: Shop) -> None:
    shop.write(("db",), imports=False)
    Path("sconectl.lock").unlink()
    done = shop.apply("--prune")
    assert "retired" not in done.out
    assert "before there was a lock: shop/web" in done.err
    assert shop.orphans("--prune-session", "shop/web")["shop/web"]["state"] == "retire"
    assert "session shop/web: retired" in shop.apply("--prune-session", "shop/web").out
    assert shop.state("shop/web") == "retired"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("shop/db", "belongs to this mesh"),
        ("shop", "belongs to this mesh"),
        ("shop/wbe", "did you mean shop/web?"),
        ("elsewhere/web", "there is no session elsewhere/web in namespace shop"),
    ],
)
def test_what_is_named_in_vain_stops_everything(shop: Shop, name: str, why: str) -> None:
    shop.write(("db",), imports=False, measurement=TWO)
    before = Path("sconectl.lock").read_bytes()
    refused = shop.apply("--prune-session", name, code=4)
    assert why in refused.err
    assert "mesh.yaml:" in refused.err
    assert shop.plan("--prune-session", name, code=4).code == 4
    assert (Path("sconectl.lock").read_bytes(), shop.state("shop/web")) == (before, "active")


def test_what_the_mesh_still_imports_from_stays(shop: Shop) -> None:
    shop.write(("db",), imports=False)
    Path("more.yaml").write_text("secrets: [{name: got, import: {session: shop/web, secret: password}}]")
    text = Path("mesh.yaml").read_text()
    Path("mesh.yaml").write_text(text.replace("- name: db\n", "- name: db\n    image_policy: more.yaml\n"))
    done = shop.apply("--prune")
    assert "shop/db of this mesh still imports from session shop/web" in done.err
    assert shop.state("shop/web") == "active"
    refused = shop.apply("--prune-session", "shop/web", code=4)
    assert "still imports" in refused.err


def test_values_that_cannot_be_kept_are_not_lost_without_a_word(shop: Shop) -> None:
    keys = [PASSWORD, {"name": "tls", "kind": "private-key", "migrate": False}]
    seen = {"local": [*SEEN["local"], {"name": "KEY", "value": "$$SCONE::tls$$"}]}
    shop.write(secrets=keys)
    web = facts("web", secrets={"global": keys}, environment=seen).model_copy(update={"measurement": ONE})
    Path("facts/web.json").write_text(record(web).to_text())
    shop.apply("--allow-secret-loss", "ca-key")
    shop.write(("db",), imports=False)
    shop.plan("--fail-on", "secret-loss")
    shop.plan("--prune", "--fail-on", "secret-loss", code=7)
    before = Path("sconectl.lock").read_bytes()
    refused = shop.apply("--prune", code=7)
    assert "SC2022" in refused.err
    assert "secret tls of session shop/web is in use, and would be lost" in refused.err
    assert (Path("sconectl.lock").read_bytes(), shop.state("shop/db"), shop.state("shop/web")) == (
        before,
        "active",
        "active",
    )
    shop.apply("--prune", "--allow-secret-loss", "web/tls")
    assert shop.state("shop/web") == "retired"


def test_the_next_run_finishes_what_was_cut_off(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write(("front", "db"), image="web")
    upload = LocalCas.upload

    def cut(self: LocalCas, text: str) -> Receipt:
        if parse_session(text).name == "shop/web":
            raise CasUnreachable("the CAS gave no answer", hint="repeat the command")
        return upload(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(LocalCas, "upload", cut)
        shop.apply("--prune", code=6)
    assert (shop.state("shop/front"), shop.state("shop/web")) == ("active", "active")
    assert shop.locked() == ["shop", "shop/db", "shop/front", "shop/web"]
    assert "SC2026" in shop.apply().err
    assert "shop/web: retired" in shop.apply("--prune").out

    def late(self: LocalCas, text: str) -> Receipt:
        upload(self, text)
        raise CasUnreachable("the CAS gave no answer", hint="repeat the command")

    shop.write(("db",), imports=False)
    shop.apply()
    with monkeypatch.context() as patch:
        patch.setattr(LocalCas, "upload", late)
        shop.apply("--prune", code=6)
    assert shop.state("shop/front") == "retired"
    assert "shop/front" in shop.locked()
    assert "retired" not in shop.apply("--prune").out
    assert shop.locked() == ["shop", "shop/db"]


def test_without_the_right_to_list_only_the_lock_is_asked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_self: LocalCas, namespace: str = "/") -> tuple[ListedSession, ...]:
        raise CasRefused(f"Listing the sessions in {namespace} failed", status=403)

    monkeypatch.setattr(LocalCas, "list_sessions", forbidden)
    shop.write(("db",), imports=False)
    plan, done = shop.plan(), shop.apply("--prune")
    for said in (plan, done):
        assert "note: only sessions that the lock names were looked for in shop: Listing" in said.err
    assert "shop/web: retired" in done.out
    assert shop.state("shop/web") == "retired"


def test_the_namespace_is_listed_once_and_only_strangers_are_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write(("db",), imports=False)
    asked: list[str] = []
    listed, read = LocalCas.list_sessions, LocalCas.read

    def listing(self: LocalCas, namespace: str = "/") -> tuple[ListedSession, ...]:
        asked.append("list")
        return listed(self, namespace)

    def reading(self: LocalCas, name: str, hash_: str | None = None) -> StoredSession | None:
        asked.append(name)
        return read(self, name, hash_)

    monkeypatch.setattr(LocalCas, "list_sessions", listing)
    monkeypatch.setattr(LocalCas, "read", reading)
    shop.apply()
    assert [asked.count(each) for each in ("list", "shop", "shop/db", "shop/web")] == [1, 1, 1, 1]


def test_a_mesh_that_moves_to_another_cas_is_reminded_of_the_first(shop: Shop) -> None:
    lock = Path("sconectl.lock")
    lock.write_text(lock.read_text().replace('"cas": "local"', '"cas": "cas.example.org"'))
    said = shop.apply()
    assert "applied to CAS cas.example.org before" in said.err
    assert "SC2026" not in shop.apply().err


def test_sessions_that_are_shipped_cannot_be_pruned(shop: Shop) -> None:
    text = Path("mesh.yaml").read_text()
    Path("mesh.yaml").write_text(text.replace("cas_url: local", "cas_url: local\n    mode: SignedManifest"))
    before = shop.locked()
    assert "in mode SignedManifest nothing is uploaded here" in shop.apply("--prune", code=4).err
    shop.apply()
    assert shop.locked() == before, "what was uploaded before is not forgotten"
