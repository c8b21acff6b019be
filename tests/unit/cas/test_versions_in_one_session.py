"""While two versions of a service are in one session, the CAS hands out to each what it would get alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sconectl.policy.rolling.overlap import Overlap, session_of
from sconectl.policy.rolling.sharing import share
from sconectl.policy.rolling.versions import Names, versioned, versions_in

from .configuration_oracle import BASE, FIELDS, Oracle, Sessions, mesh, oracle_in


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with oracle_in(tmp_path_factory.mktemp("oracle")) as found:
        yield found


NAMES = Names("app", "image", "key-of-the-image")
OLD, NEW = "ab" * 32, "cd" * 32
# A certificate is issued anew with each update, for all pods; what only the launcher reads is asked for by name.
SAME_FOR_ALL = ("names", "name of the CA", "common name", "form of names", "lifetime", "lifetime of the CA")
CHOICES = {name: st.sampled_from(values) for name, values in FIELDS.items()}


def version(choice: dict[str, Any], measurement: str) -> Sessions:
    """Return a mesh whose image has this measurement; another image is tried with each choice."""
    return mesh(choice | {"mrenclave": [measurement]})


def overlapped(old: Sessions, new: Sessions, number: int = 2, kept: int = 1) -> tuple[Sessions, list[str]]:
    """Return the sessions with both versions, and what stands against that."""
    both = {str(after["name"]): Overlap(after, session_of(before)) for before, after in zip(old, new, strict=True)}
    web = session_of(old[1])
    both["shop/web"] = Overlap(versioned(new[1], NAMES, number), web)
    both["shop/web"].keep(versions_in(web, NAMES)[kept], NAMES)
    share(both)
    faults = [fault.message for overlap in both.values() for fault in overlap.faults]
    return [overlap.document for overlap in both.values()], faults


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(choice=st.fixed_dictionaries(CHOICES), data=st.data())
def test_each_version_gets_what_is_its_own(
    oracle: Oracle,
    choice: dict[str, Any],
    data: st.DataObject,
) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted({*FIELDS} - {*SAME_FOR_ALL})), max_size=4, unique=True))
    other = choice | {name: data.draw(CHOICES[name]) for name in names}
    old, new = version(choice, OLD), version(other, NEW)
    both, faults = overlapped(old, new)
    assume(not faults)
    assert oracle.configuration(both, "app") == oracle.configuration(old)
    alone = oracle.configuration(new)
    assert oracle.configuration(both, "app-v2") == {**alone, "service": "app-v2"}
    accepted = {service.name: service.measurements for service in session_of(both[1]).services}
    assert (accepted["app"], accepted["app-v2"]) == ((OLD,), (NEW,))


SINGLE = [
    ("command", False), ("variable", False), ("host", False), ("file", False), ("fspf_tag", False), ("mount", False),
    ("permission", False), ("pwd", False), ("read", False), ("unused", False), ("export", False), ("tolerate", False),
    ("size", True), ("raw", True), ("key type", True), ("key of the CA", True), ("name of the CA", True),
    ("endpoint", True), ("token", True), ("files of the volume", True), ("policy of the export", True),
    ("neighbour", False), ("names", False), ("lifetime", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "clashes"), SINGLE, ids=[name for name, _ in SINGLE])
def test_what_may_differ(name: str, clashes: bool) -> None:
    old = version(BASE | {"variable": "$$SCONE::size$$", "file": "$$SCONE::key:pem$$"}, OLD)
    value = "two" if name == "token" else FIELDS[name][-1]
    new = version(BASE | {"variable": "$$SCONE::size$$", "file": "$$SCONE::key:pem$$", name: value}, NEW)
    _, faults = overlapped(old, new)
    assert bool(faults) == clashes, faults
    assert "two" not in " ".join(faults).split()


def test_a_certificate_has_the_names_that_old_pods_know() -> None:
    old, new = version(BASE | {"names": ["db.example.org", "db"]}, OLD), version(BASE, NEW)
    assert overlapped(old, new)[1] == ["secret cert differs: the certificate loses a name"]


def test_attestation_that_gets_stricter_would_refuse_old_pods() -> None:
    old, new = version(BASE | {"tolerate": ["hyperthreading"]}, OLD), version(BASE, NEW)
    assert overlapped(old, new)[1] == ["security does not tolerate hyperthreading any more"]
    new[1]["security"] = {"attestation": {"mode": "hardware", "tolerate": ["hyperthreading"]}}
    assert overlapped(old, new)[1] == ["security has the attestation mode hardware, and it was simulation"]


def test_a_service_without_a_version_of_its_own_stays_as_it_is() -> None:
    old, new = version(BASE | {"neighbour": "python"}, OLD), version(BASE | {"neighbour": "ruby"}, NEW)
    assert set(overlapped(old, new)[1]) == {"service beside changes, and has no version of its own"}
    assert set(overlapped(old, version(BASE, NEW))[1]) == {"service beside changes, and has no version of its own"}


def test_only_two_versions_are_there() -> None:
    first, second, third = (version(BASE, measurement * 32) for measurement in ("01", "02", "03"))
    both, _ = overlapped(first, second)
    later, _ = overlapped(both, third, number=3, kept=2)
    assert list(versions_in(session_of(later[1]), NAMES)) == [3, 2]
    assert {image.name for image in session_of(later[1]).images} == {"image-v3", "image-v2"}


def test_each_version_has_the_key_of_its_own_files() -> None:
    old, new = version(BASE, OLD), version(BASE, NEW)
    for sessions, image in ((old, "one"), (new, "two")):
        sessions[1]["secrets"] = [
            {"name": "fs", "kind": "binary", "import": {"session": f"image~{image}", "secret": "fspf-key"}}
            if secret["name"] == "fs"
            else secret
            for secret in sessions[1]["secrets"]
        ]
    names = Names("app", "image", "fs")
    merged = Overlap(versioned(new[1], names, 2), session_of(old[1]))
    merged.keep(session_of(old[1]).services, names)
    assert merged.faults == []
    session = session_of(merged.document)
    found = {}
    for name in ("app", "app-v2"):
        service = session.service(name)
        assert service is not None and service.fspf_key is not None
        secret = session.secret(service.fspf_key.removeprefix("$$SCONE::").removesuffix("$$"))
        assert secret is not None and secret.import_ is not None
        found[name] = secret.import_.session
    assert found == {"app": "image~one", "app-v2": "image~two"}


def test_what_old_pods_import_is_exported_to_them_alone_and_no_longer_than_needed() -> None:
    old, new = version(BASE, OLD), version(BASE, NEW)
    new[1]["secrets"] = [secret for secret in new[1]["secrets"] if secret["name"] != "token"]
    del new[1]["services"][0]["environment"]["T"]
    new[0]["secrets"] = [secret for secret in new[0]["secrets"] if secret["name"] != "token"]
    old[0]["secrets"][-1]["export"] = [*old[0]["secrets"][-1]["export"], {"session": "shop/elsewhere"}]
    both, faults = overlapped(old, new)
    assert faults == []
    token = session_of(both[0]).secret("token")
    assert token is not None
    assert [export.session for export in token.export] == ["shop/web"]
    third = [new[0], {**new[1], "services": [{**new[1]["services"][0], "attestation": [{"mrenclave": ["03" * 32]}]}]}]
    later, faults = overlapped(both, third, number=3, kept=2)
    assert faults == []
    assert session_of(later[0]).secret("token") is None


def test_a_volume_stays_with_its_key_and_is_exported_as_before() -> None:
    """That of the importer, which gives it a name, and that of the owner, whose new version shares it no more."""
    old, new = version(BASE, OLD), version(BASE, NEW)
    del new[1]["volumes"], new[1]["images"][0]["volumes"], new[0]["volumes"][0]["export"]
    both, faults = overlapped(old, new)
    assert faults == []
    owner, web = (session_of(document) for document in both)
    (export,) = owner.volumes[0].export
    assert (owner.volumes[0].name, export.session) == ("data", "shop/web")
    assert [volume.name for volume in web.volumes] == ["mounted"]
    mounts = {image.name: [mount.name for mount in image.volumes] for image in web.images}
    assert mounts == {"image-v2": [], "image": ["mounted"]}
    new[0]["volumes"][0]["files"] = "authenticated-only"
    assert overlapped(old, new)[1] == ["volume data has other terms"]
