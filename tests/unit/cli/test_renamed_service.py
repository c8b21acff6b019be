"""Services with a new name: what that costs is told, and with renamed_from it costs nothing, on the embedded CAS."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.policy.reading import parse_session

from .conftest import Run
from .two_services import ONE, OTHER, PASSWORD, TWO, Shop


@pytest.fixture
def shop(project: Path, run: Run) -> Shop:
    made = Shop(project, run)
    made.write()
    made.apply()
    return made


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
