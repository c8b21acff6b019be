"""Advice about what is trusted: debug mode, machines with weaknesses, a CAS without proof, the host, images.

In: a model, the build mode, facts of images. Out: remarks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sconectl.plan.advice.advice_values import Remark
from sconectl.text.yaml_tree import Path

if TYPE_CHECKING:
    from sconectl.manifest.model.genservice import GenService
    from sconectl.manifest.model.mesh import Mesh
    from sconectl.plan.facts.image_facts import ImageFacts

_SEPARATOR = re.compile(r"[\s,]+")
_TESTING = "--only_for_testing"
_STORES = tuple(
    PurePosixPath(path)
    for path in (
        "/etc/ca-certificates",
        "/etc/pki/ca-trust",
        "/etc/pki/java",
        "/etc/pki/tls/cert.pem",
        "/etc/pki/tls/certs",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/etc/ssl/certs",
        "/usr/lib/ssl/certs",
        "/usr/local/share/ca-certificates",
        "/usr/share/ca-certificates",
        "/usr/share/pki",
        "/var/lib/ca-certificates",
    )
)
_STORE_NAMES = frozenset({"cacerts", "cacert.pem", "ca-certificates.crt", "ca-bundle.crt", "tls-ca-bundle.pem"})
_MOVING_TAGS = frozenset(
    {"canary", "current", "dev", "develop", "devel", "edge", "head", "latest", "lts", "main", "master", "next"}
    | {"nightly", "release", "rolling", "snapshot", "stable", "testing", "trunk", "unstable"}
)


def _words(text: str | None) -> list[str]:
    return [word for word in _SEPARATOR.split(text or "") if word]


def debug_build(mode: str) -> Iterator[Remark]:
    """SC4001: a service that is built for debug mode."""
    if mode == "debug":
        message = "the image is built with --mode debug: whoever runs the machine can read its memory"
        yield Remark("SC4001", ("build", "to"), message, "build it without --mode debug")


def debug_images(model: Mesh, facts: Mapping[str, ImageFacts]) -> Iterator[Remark]:
    """SC4001: services of a mesh whose images were built for debug mode."""
    for number, service in enumerate(model.services):
        known = facts.get(service.name)
        if known is not None and known.parameters.get("mode") == "debug":
            message = "this image was built with --mode debug: whoever runs the machine can read its memory"
            yield Remark("SC4001", ("services", number, "image"), message, "build it without --mode debug")


def debug_tolerated(model: Mesh) -> Iterator[Remark]:
    """SC4001: attestation that accepts debug mode for all services."""
    if {"debug", "debug-mode"} & set(_words(model.policy.tolerate)):
        message = "enclaves in debug mode get the secrets: whoever runs the machine can read their memory"
        yield Remark("SC4001", ("policy", "tolerate"), message, "remove debug-mode from tolerate")


def all_advisories(model: Mesh) -> Iterator[Remark]:
    """SC4002: `ignore_advisories: "*"`."""
    if "*" in _words(model.policy.ignore_advisories):
        message = "machines with any known weakness are accepted, also with those that are found later"
        hint = 'name the advisories that you accept, like "INTEL-SA-00615, INTEL-SA-00657"'
        yield Remark("SC4002", ("policy", "ignore_advisories"), message, hint)


def cas_for_testing(model: Mesh) -> Iterator[Remark]:
    """SC4003: a CAS that is trusted without proof."""
    for number, cas in enumerate(model.cas):
        flags = [word.partition("=")[0] for word in _words(cas.tolerance) if word.startswith(_TESTING)]
        if flags:
            message = f"{' and '.join(dict.fromkeys(flags))}: a CAS is accepted that proves less than it should"
            hint = "remove it, and give the key hash of the CAS in cas_key"
            yield Remark("SC4003", ("cas", number, "tolerance"), message, hint)


def authorities_of_the_host(model: GenService) -> Iterator[Remark]:
    """SC4004: certificates of authorities that the host provides."""
    for number, text in enumerate(model.build.host_paths):
        path = PurePosixPath(text)
        if path.name in _STORE_NAMES or any(
            path == store or path in store.parents or store in path.parents for store in _STORES
        ):
            message = "the host decides which certificate authorities the program trusts"
            hint = "remove it, so that those of the image are used, or inject the certificate that the program needs"
            yield Remark("SC4004", ("build", "host_paths", number), message, hint)


def moving_base_images(model: GenService) -> Iterator[Remark]:
    """SC4007: base and stable images without a fixed version."""
    fields: tuple[tuple[str, str | None], ...] = (("from", model.build.base), ("stable", model.build.stable))
    for field, image in fields:
        if image:
            yield from _moving(("build", field), image)


def moving_images(model: Mesh) -> Iterator[Remark]:
    """SC4007: images of services without a fixed version."""
    for number, service in enumerate(model.services):
        yield from _moving(("services", number, "image"), service.image)


def _moving(path: Path, image: str) -> Iterator[Remark]:
    if "@" in image:
        return
    _, colon, tag = image.rpartition("/")[2].partition(":")
    hint = "name a version, like image:1.4.2, or the digest, like image@sha256:…"
    if not colon:
        yield Remark("SC4007", path, "the image has no tag, which means latest, another image each day", hint)
    elif tag.lower() in _MOVING_TAGS:
        yield Remark("SC4007", path, f"the tag {tag.lower()} means another image each day", hint)


SERVICE_RULES = (authorities_of_the_host, moving_base_images)
MESH_RULES = (debug_tolerated, all_advisories, cas_for_testing, moving_images)
