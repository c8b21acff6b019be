"""What a retired session means in a CAS: no program and no other session gets anything, until it is put back."""

from __future__ import annotations

from typing import Any

import pytest

from sconectl.cas.attest.quotes import report_data_for
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.policy.reading import parse_session
from sconectl.policy.retired import retired
from sconectl.policy.serialized.canonical import read_back

from .conftest import session_text

ATTESTED = "security: {attestation: {mode: simulation}}\n"
DATABASE = f"""\
{ATTESTED}services:
- {{name: db, image_name: db, command: db $$SCONE::password$$, attestation: {{mrenclave: {"ab" * 32}}}}}
images:
- {{name: db, volumes: [{{name: data, path: /data}}]}}
secrets:
- {{name: password, kind: ascii, size: 12, export: [{{session: shop/web}}], export_public: true}}
volumes:
- {{name: data}}
"""
WEB = f"""\
{ATTESTED}services:
- {{name: web, command: web $$SCONE::mine$$, attestation: {{mrenclave: {"ab" * 32}}}}}
secrets:
- {{name: mine, import: {{session: shop/db, secret: password}}}}
"""


def configuration(cas: EmbeddedCas, config_id: str) -> dict[str, Any]:
    report = {"toolchain": "sim", "measurement": "ab" * 32, "debug": False, "report_data": report_data_for(b"channel")}
    quote = cas.enclaves.quote(report)["quote"]
    found: dict[str, Any] = cas.enclaves.attest(config_id, quote, b"channel")["config"]
    return found


def refusal(cas: EmbeddedCas, config_id: str) -> str:
    with pytest.raises(CasRefusal) as caught:
        configuration(cas, config_id)
    return " ".join(caught.value.causes)


def replaced(cas: EmbeddedCas, owner: Principal, name: str, *, keep: bool = True) -> str:
    """Retire a session; return the hash of what it was."""
    before = cas.read(name, owner)
    after = retired(parse_session(before.text), keep_secrets=keep).model_copy(update={"predecessor": before.hash})
    assert cas.put(read_back(after), owner).outcome == "updated"
    return before.hash


def put_back(cas: EmbeddedCas, owner: Principal, name: str, hash_: str) -> None:
    earlier = parse_session(cas.read(name, owner, hash_).text)
    again = earlier.model_copy(update={"predecessor": cas.read(name, owner).hash})
    assert cas.put(read_back(again), owner).outcome == "updated"


@pytest.fixture
def shop(cas: EmbeddedCas, alice: Principal) -> EmbeddedCas:
    for name, body in (("shop", ""), ("shop/db", DATABASE), ("shop/web", WEB)):
        cas.put(session_text(name, body), alice)
    return cas


def test_nobody_gets_anything_until_it_is_put_back(shop: EmbeddedCas, alice: Principal) -> None:
    before, web = configuration(shop, "shop/db/db"), configuration(shop, "shop/web/web")
    public = shop.public_value("shop/db", "password")
    assert before["argv"][1] == web["argv"][1] == public["value"]
    hash_ = replaced(shop, alice, "shop/db")
    assert "refused to attest" in refusal(shop, "shop/db/db")
    assert "does not export a secret password" in refusal(shop, "shop/web/web")
    with pytest.raises(CasRefusal) as caught:
        shop.public_value("shop/db", "password")
    assert caught.value.status == 404 and shop.public_values("shop/db") == {}
    with pytest.raises(CasRefusal, match="create_sessions"):
        shop.put(session_text("shop/db/below"), alice)
    put_back(shop, alice, "shop/db", hash_)
    assert configuration(shop, "shop/db/db") == before
    assert configuration(shop, "shop/web/web") == web


def test_what_is_destroyed_does_not_come_back(shop: EmbeddedCas, alice: Principal) -> None:
    before = configuration(shop, "shop/db/db")
    hash_ = replaced(shop, alice, "shop/db")
    replaced(shop, alice, "shop/db", keep=False)
    put_back(shop, alice, "shop/db", hash_)
    after = configuration(shop, "shop/db/db")
    assert after["argv"][0] == before["argv"][0] and after["argv"][1] != before["argv"][1]
    assert after["volumes"][0]["key"] != before["volumes"][0]["key"]


def test_others_get_no_right_by_it(shop: EmbeddedCas, alice: Principal, bob: Principal) -> None:
    replaced(shop, alice, "shop/db")
    for attempt in (lambda: shop.read("shop/db", bob), lambda: shop.put(session_text("shop/db"), bob)):
        with pytest.raises(CasRefusal) as caught:
            attempt()
        assert caught.value.status == 403
