"""The catalogue of curated services, ours and those of a project, and the context that a recipe is built from."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from fakes.builders import SIM
from fakes.engine import FakeEngine, image, root_of

from sconectl import assets
from sconectl.apply.curated.catalogue import CuratedService, catalogue, meant
from sconectl.apply.curated.native_image import build_recipe, recipe_base
from sconectl.errors import InvalidInput, UsageError
from sconectl.image.build.native_build import BuildEnvironment
from sconectl.plan.service.base_images import RECIPE_BASES, recipe_base_image
from sconectl.text.findings import errors_of
from sconectl.usecases.check_service import check_service
from sconectl.usecases.security_advice import advice_on

OURS = assets.folder("curated")
OWN = """# A service of ours.
#
# More words,
# on two lines.
apiVersion: scone/5.8
kind: genservice
build: {name: own, kind: sconify_image, from: $CURATED_NATIVE, to: $CURATED_IMAGE, command: own}
environment: {}
"""
RECIPE = "# An own recipe.\nARG SCONECTL_BASE=debian:bookworm-slim\nFROM ${SCONECTL_BASE}\n"
SPECIFIED = {
    # what upstream's meshes give, what they import (spec: curated images)
    "redis": ({"redis_server_name", "redis_client_name"}, {"redis_ca_cert", "redis_client_cert"}),
    "memcached": ({"memcached_host", "memcached_port"}, {"MEMCACHED_CA_CERT", "MEMCACHED_CLIENT_CERT"}),
    "mariadb": (
        {"database_host", "database_port", "database_user", "sqlInitScript"},
        {"MARIADB_CA_CERT", "MARIADB_CLIENT_CERT", "MYSQL_ROOT_PASSWORD"},
    ),
    "nginx": (
        {
            *("nginx_server_name", "nginx_backend_server_name", "nginx_backend_server_port"),
            *("nginx_initContainers_enabled", "NGINX_BACKEND_CLIENT_CERT", "NGINX_BACKEND_CA_CERT"),
        },
        {"NGINX_SERVER_CA_CERT"},
    ),
}


def own(folder: Path, name: str = "own", manifest: str = OWN, recipe: str = RECIPE) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "service.yaml").write_text(manifest)
    if recipe:
        (folder / name / "Dockerfile").write_text(recipe)
    return folder


def test_ours_are_those_of_upstream() -> None:
    assert list(catalogue([OURS])) == sorted(SPECIFIED)


@pytest.mark.parametrize("name", SPECIFIED)
def test_each_has_the_variables_and_secrets_that_meshes_in_use_name(name: str) -> None:
    model = catalogue([OURS])[name].service("registry.example.org/x:1")
    variables, secrets = SPECIFIED[name]
    assert {variable.name for variable in model.environment.global_} >= variables
    assert {secret.name for secret in model.secrets.global_} >= secrets
    common_names = {secret.name: secret.common_name for secret in model.secrets.global_}
    assert common_names.get("MARIADB_CA_CERT", "MariaDB_CA") == "MariaDB_CA"
    assert common_names.get("NGINX_SERVER_CA_CERT", "NGINX_SERVER_CA") == "NGINX_SERVER_CA"
    assert model.build.public and model.build.ports


@pytest.mark.parametrize("name", SPECIFIED)
def test_nothing_is_wrong_with_any_of_them_and_no_advice_is_needed(name: str) -> None:
    service = catalogue([OURS])[name]
    manifest = service.manifest("registry.example.org/x:1")
    check = check_service(manifest, mode="production", bases={}, toolchain=SIM)
    assert (check.findings, check.limits, manifest.warnings) == ((), (), ())
    assert not errors_of(advice_on([manifest], date(2026, 1, 1), mode="production"))
    assert recipe_base(service) in RECIPE_BASES.values()
    assert len(service.words) > 1 and service.words[0].endswith(".")


def test_one_of_the_project_takes_the_place_of_ours(tmp_path: Path) -> None:
    found = catalogue([own(own(tmp_path), "redis"), OURS])
    assert [found["own"].folder, found["redis"].folder] == [tmp_path / "own", tmp_path / "redis"]
    assert found["nginx"].folder == OURS / "nginx"
    assert found["own"].words == ("A service of ours.", "More words, on two lines.")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("registry.example.org/sconectl/redis:6", "redis"),
        ("localhost:5000/redis", "redis"),
        ("sconectl/redis@sha256:" + "0" * 64, "redis"),
        ("sconectl/redis-scone:6", None),
        ("redis:7", None),  # that is the official image, which is not confidential
        ("sconectl/redis/other:1", None),
    ],
)
def test_which_images_are_meant(reference: str, name: str | None) -> None:
    found = meant(reference, catalogue([OURS]))
    assert (found and found.name) == name


def test_faults_of_directories(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        catalogue([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="no curated service in this directory"):
        catalogue([tmp_path])
    with pytest.raises(UsageError, match="not the name of an image"):
        catalogue([own(tmp_path, "Own_")])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (OWN.replace("$CURATED_IMAGE", "mine:1"), "build.to"),
        ("apiVersion: scone/5.8\nkind: genservice\n", "build"),
        ("kind: [", ""),
    ],
)
def test_faults_of_manifests(tmp_path: Path, text: str, path: str) -> None:
    service = catalogue([own(tmp_path, manifest=text)])["own"]
    with pytest.raises(InvalidInput) as caught:
        service.manifest("a/own:1")
    assert path in [finding.path for finding in caught.value.findings]
    assert {finding.position.file for finding in caught.value.findings} == {str(service.file)}


def test_a_mesh_is_no_curated_service(tmp_path: Path) -> None:
    mesh = "apiVersion: scone/5.8\nkind: mesh\ncas: [{name: cas, cas_url: local}]\npolicy: {namespace: n}\nenv: []\n"
    service = catalogue([own(tmp_path, manifest=mesh + "services: [{name: a, image: a/own:1}]\n")])["own"]
    with pytest.raises(InvalidInput) as caught:
        service.manifest("a/own:1")
    assert [finding.path for finding in caught.value.findings] == ["kind"]


def test_a_recipe_names_its_base(tmp_path: Path) -> None:
    def base(recipe: str) -> str:
        (tmp_path / "Dockerfile").write_text(recipe)
        return recipe_base(CuratedService("own", tmp_path))

    assert base(RECIPE) == "debian:bookworm-slim"
    assert base("ARG SCONECTL_BASE=redis:7.2\n\nFROM ${SCONECTL_BASE}\nUSER 999\n") == "redis:7.2"
    for other in (
        "FROM debian\n",
        "ARG SCONECTL_BASE\nFROM ${SCONECTL_BASE}\n",
        RECIPE.replace("FROM $", "FROM x$"),
        "",
    ):
        with pytest.raises(UsageError, match="the base image of this recipe is not known"):
            base(other)
    assert recipe_base_image("debian:bookworm-slim", {"debian": "mine:1"}) == "mine:1"
    assert recipe_base_image("redis:7.2", {"debian": "mine:1", "python": "mine:2"}) == "redis:7.2"


def built(service: CuratedService, ca: bytes = b"") -> dict[str, tuple[int, bytes | str | None]]:
    """Build with an engine that remembers the context; return that."""
    base = image({"/etc/os-release": b"ID=fake\n"})
    engine = FakeEngine(images={"base:1": base})
    lines: list[str] = []
    info = build_recipe(
        service, base.info, engine=engine, environment=BuildEnvironment(ca), progress=lines.append, detail=lines.append
    )
    assert engine.inspect(service.native) == info
    assert lines[0] == f"building the native image of {service.name}"
    return root_of(engine.contexts[0])


def test_a_recipe_gets_its_files_and_the_certificates_of_this_machine(tmp_path: Path) -> None:
    own(tmp_path)
    (tmp_path / "own/bin").mkdir()
    (tmp_path / "own/bin/start").write_text("#!/bin/sh\n")
    (tmp_path / "own/own.conf").write_text("a = b\n")
    (tmp_path / "own/own.conf").chmod(0o600)
    context = built(catalogue([tmp_path])["own"], b"a certificate")
    assert context["/.sconectl/ca.pem"] == (0o644, b"a certificate")
    assert context["/.sconectl/install-packages"][0] == 0o755
    assert context["/bin/start"] == (0o755, b"#!/bin/sh\n") and context["/own.conf"] == (0o644, b"a = b\n")
    assert "/Dockerfile" in context and "/service.yaml" not in context


def test_a_recipe_reaches_out_of_its_folder_by_no_link(tmp_path: Path) -> None:
    (own(tmp_path) / "own/link").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="no symbolic links"):
        built(catalogue([tmp_path])["own"])
