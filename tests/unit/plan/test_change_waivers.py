"""Waivers of changes: a mesh that allows, for a while, that an update weakens its sessions."""

from __future__ import annotations

from datetime import date

import pytest

from sconectl.manifest.model.waivers import waive
from sconectl.manifest.reading.reader import Manifest, read_manifest
from sconectl.plan.advice.advice import advise
from sconectl.plan.advice.changes import unwaived
from sconectl.policy.diff.change import Change, neutral, strengthens, weakens
from sconectl.text.findings import Finding

TODAY = date(2027, 1, 1)
MESH = """\
apiVersion: scone/5.8
kind: mesh
cas: [{{cas_url: cas.example.org}}]{cas}
policy:{policy}
  namespace: shop{namespace}
  tolerate: hyperthreading
env: []
services:{services}
  - name: web{web}
    image: web:1.0{image}
{above}  - name: db
    image: db:1.0
"""
DEBUG = weakens("attestation", "tolerate", "debug-mode is tolerated", "SC5003")
EXPORT = weakens("sharing", "secret x", "session b may import it", "SC5041")
HARMLESS = [neutral("configuration", "s", "pwd"), strengthens("access", "read", "b may no longer")]
CHANGES = {"shop": [DEBUG], "shop/web": [DEBUG, EXPORT, *HARMLESS], "shop/db": [DEBUG, *HARMLESS], "other/web": [DEBUG]}


def allow(code: str = "SC5003", until: str = "2027-03-01") -> str:
    return f' # sconectl:allow {code} until={until} reason="an incident"'


def mesh(**comments: str) -> Manifest:
    places = ("cas", "policy", "namespace", "services", "web", "image", "above")
    return read_manifest(MESH.format(**dict.fromkeys(places, "") | comments), "mesh.yaml", {})


def left(manifest: Manifest, today: date = TODAY) -> dict[str, list[Change]]:
    return unwaived(CHANGES, manifest, today)


def faults(manifest: Manifest, today: date = TODAY) -> list[Finding]:
    return waive(advise(manifest), manifest.document, today)


ALL = {"shop": [DEBUG], "shop/web": [DEBUG, EXPORT], "shop/db": [DEBUG], "other/web": [DEBUG]}


def test_without_a_waiver_everything_that_weakens_is_left() -> None:
    assert left(mesh()) == ALL
    assert unwaived({"shop/web": HARMLESS, "shop/db": []}, mesh(), TODAY) == {}


@pytest.mark.parametrize("place", ["web", "image"])
def test_a_waiver_at_a_service_is_about_its_session(place: str) -> None:
    manifest = mesh(**{place: allow()})
    assert left(manifest) == {**ALL, "shop/web": [EXPORT]}
    assert faults(manifest) == []


def test_above_a_service_it_is_about_that_one() -> None:
    assert left(mesh(above=f" {allow()}\n")) == {name: found for name, found in ALL.items() if name != "shop/db"}


@pytest.mark.parametrize("place", ["policy", "namespace"])
def test_a_waiver_at_policy_is_about_every_session(place: str) -> None:
    manifest = mesh(**{place: allow()})
    assert left(manifest) == {"shop/web": [EXPORT]}
    assert faults(manifest) == []


def test_services_in_one_line_share_a_waiver() -> None:
    text = MESH.format(**dict.fromkeys(("cas", "policy", "namespace", "services", "web", "image", "above"), ""))
    head = text.partition("services:")[0]
    flow = f"{head}services: [{{name: web, image: 'web:1.0'}}, {{name: db, image: 'db:1.0'}}]{allow()}\n"
    assert left(read_manifest(flow, "mesh.yaml", {})) == {"shop": [DEBUG], "shop/web": [EXPORT], "other/web": [DEBUG]}


def test_it_is_about_one_code() -> None:
    assert left(mesh(web=allow("SC5002"))) == ALL


def test_it_counts_through_its_last_day_and_is_an_error_afterwards() -> None:
    manifest = mesh(policy=allow())
    assert left(manifest, date(2027, 3, 1)) == {"shop/web": [EXPORT]}
    assert left(manifest, date(2027, 3, 2)) == ALL
    assert [(found.severity, found.code) for found in faults(manifest, date(2027, 3, 2))] == [("error", "SC4091")]


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        (allow("SC5999"), "only security advice"),
        (allow("SC3001"), "only security advice"),
        (allow(until="2027-02-30"), "expected a date"),
        (" # sconectl:allow SC5003", "not a complete waiver"),
        (' # sconectl:allow SC5003 until=2027-03-01 reason=" "', "no reason"),
    ],
)
def test_one_that_cannot_be_understood_is_an_error_and_allows_nothing(comment: str, message: str) -> None:
    manifest = mesh(policy=comment)
    assert left(manifest) == ALL
    (fault,) = faults(manifest)
    assert (fault.severity, fault.code) == ("error", "SC4090")
    assert message in fault.message
    assert fault.hint


def test_a_misspelt_code_is_recognised() -> None:
    (fault,) = faults(mesh(policy=allow("SC50O3")))
    assert fault.hint == "did you mean SC5003?"


@pytest.mark.parametrize("place", ["cas", "services"])
def test_one_at_no_service_and_not_at_policy_is_an_error(place: str) -> None:
    manifest = mesh(**{place: allow()})
    assert left(manifest) == ALL
    (fault,) = faults(manifest)
    assert (fault.severity, fault.code) == ("error", "SC4090")
    assert "at one of its services" in fault.message


def test_one_in_a_service_manifest_is_an_error() -> None:
    text = (
        "apiVersion: scone/5.8\nkind: genservice\n"
        f"build: {{name: web, kind: python, to: 'web:1', command: x}}{allow()}\nenvironment: {{}}\n"
    )
    manifest = read_manifest(text, "service.yaml", {})
    assert [found.code for found in faults(manifest)] == ["SC4090"]
