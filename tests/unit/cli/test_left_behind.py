"""Services that are taken out: their sessions are told, and retired with --prune, on the embedded CAS."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.builders import facts, record, service_text

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.local import LocalCas
from sconectl.errors import CasError, CasRefused, CasUnreachable
from sconectl.policy.reading import Export, parse_session
from sconectl.policy.serialized.canonical import read_back
from sconectl.ports import ListedSession, Receipt, StoredSession

from .conftest import Run
from .two_services import KEYS, ONE, PASSWORD, SEEN, TWO, Shop


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


def test_what_prune_would_lose_or_cannot_find_builds_no_image(shop: Shop) -> None:
    """The services of the same run are applied first, and an image whose tag is in use would be another one then."""
    keys = [PASSWORD, {"name": "tls", "kind": "private-key", "migrate": False}]
    shop.write(secrets=keys)
    web = facts("web", secrets={"global": keys}, environment={"local": [{"name": "KEY", "value": "$$SCONE::tls$$"}]})
    Path("facts/web.json").write_text(record(web.model_copy(update={"measurement": ONE})).to_text())
    shop.apply("--allow-secret-loss", "ca-key")
    shop.write(("db",), imports=False)
    Path("db.yaml").write_text(service_text("db"))
    both = ("-f", "db.yaml", "--base-image", "python=base:1")
    for words, code, why in ((("--prune",), 7, "SC2022"), (("--prune-session", "shop/nobody"), 4, "no session")):
        refused = shop.apply(*both, *words, code=code)
        assert why in refused.err
        assert not Path("target/images").exists()
    shop.apply(*both, "--prune", "--allow-secret-loss", "web/tls")
    assert Path("target/images/db.json").exists()
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


@pytest.mark.parametrize(
    "answer", [CasRefused("Listing failed", status=403), CasError("Listing: the answer is not understood")]
)
def test_where_nothing_can_be_listed_only_the_lock_is_asked(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, answer: CasError
) -> None:
    def forbidden(_self: LocalCas, _namespace: str = "/") -> tuple[ListedSession, ...]:
        raise answer

    monkeypatch.setattr(LocalCas, "list_sessions", forbidden)
    shop.write(("db",), imports=False)
    plan, done = shop.plan(), shop.apply("--prune")
    for said in (plan, done):
        assert "note: only sessions that the lock names were looked for in shop: Listing" in said.err
    assert "shop/web: retired" in done.out
    assert shop.state("shop/web") == "retired"


def test_what_may_not_be_read_is_told_and_stays(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write(("db",), imports=False)
    read = LocalCas.read

    def forbidden(self: LocalCas, name: str, hash_: str | None = None) -> StoredSession | None:
        if name == "shop/web":
            raise CasRefused("Reading failed", status=403)
        return read(self, name, hash_)

    with monkeypatch.context() as patch:
        patch.setattr(LocalCas, "read", forbidden)
        assert "may not be read with your identity" in shop.plan().out
        done = shop.apply("--prune")
        assert "what it gives cannot be told" in done.err
        assert "may not be read" in shop.apply("--prune-session", "shop/web", code=4).err
    assert shop.state("shop/web") == "active"
    assert "shop/web" in shop.locked()


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
