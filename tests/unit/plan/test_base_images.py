"""Base images: every kind has one, and a kind that does not exist is refused."""

from __future__ import annotations

import pytest

from sconectl.errors import UsageError
from sconectl.manifest.model.genservice import BUILD_KINDS
from sconectl.plan.service.base_images import DEFAULT_BASES, base_image, check_kinds, is_java


def test_every_kind_that_is_built_has_an_image() -> None:
    assert set(DEFAULT_BASES) == set(BUILD_KINDS) - {"sconify_image"}
    assert [kind for kind in DEFAULT_BASES if not is_java(kind)] == ["python"]


def test_what_is_given_wins() -> None:
    assert base_image("java17", {"java17": "mine:1", "java": "other"}) == "mine:1"
    assert base_image("java17", {"java": "other"}) == "eclipse-temurin:17-jdk-alpine"


@pytest.mark.parametrize(("kind", "near"), [("pyhton", "python"), ("java-17", "java17"), ("Java", "java")])
def test_unknown_kinds(kind: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_kinds(["python", kind], "--base-image")
    assert (caught.value.message, caught.value.hint) == (
        f"--base-image: unknown kind {kind!r}",
        f"did you mean {near}?",
    )


def test_kinds_like_no_other() -> None:
    with pytest.raises(UsageError) as caught:
        check_kinds(["fortran"], "x")
    assert caught.value.hint.startswith("known are debian, java, java-glibc, java15")
