"""Which layers of a native image stay, what is in those that do not, and that nothing of a secret is left in any."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sconectl.errors import BuildFailed
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.layer_rewrite import BuildTime
from sconectl.image.layers.layer_writer import LayerWriter
from sconectl.toolchains.interface import Assembly
from sconectl.toolchains.sim.protected_image import protect

from .root_tars import (
    EPOCH,
    KEY,
    Entry,
    Result,
    file,
    folder,
    hard,
    launcher,
    link,
    member,
    native_image,
    opaque,
    protected_layers,
    protection,
    removed,
)

BASE: list[Entry] = [folder("etc"), file("etc/passwd", b"root", mtime=5), folder("app"), file("app/old", b"old")]
TODAY = EPOCH + 1_000_000


def protected(tmp_path: Path, name: str, *layers: list[Entry], **changes: Any) -> Result:
    work = tmp_path / name
    work.mkdir()
    return protected_layers(work, *layers, **changes)


def test_layers_of_the_base_image_stay_as_they_are_below_the_launcher(tmp_path: Path) -> None:
    result = protected(tmp_path, "x", BASE, [file("etc/more")], [folder("app"), file("app/new")], base=2)
    image = native_image(tmp_path, [BASE, [file("etc/more")]])
    assert result.digests()[:2] == [layer.digest for layer in image.layers]
    assert list(result.members(2)) == ["scone", "scone/launcher"]
    assert list(result.members(3)) == ["app", "app/new"]
    assert {"scone/image/enclave.json", "scone/image/index.json"} <= set(result.members(4))
    assert len(result.layers) == 5


def test_a_layer_that_is_the_base_images_only_by_chance_is_rewritten(tmp_path: Path) -> None:
    """Only what the base image begins with: the same layer on top of another is somewhere else."""
    result = protected(tmp_path, "x", [file("b", mtime=TODAY)], BASE, base=0)
    assert result.members(1)["b"].mtime == EPOCH


def test_nothing_is_left_of_a_layer_that_changes_nothing(tmp_path: Path) -> None:
    again = [folder("app", mtime=TODAY), file("etc/passwd", b"root", mtime=TODAY)]
    scratch = [folder(".sconectl"), file(".sconectl/ca.pem"), folder("dev"), member_of("dev/null", tarfile.CHRTYPE)]
    stubs = [file(name, b"") for name in ("etc/hosts", "etc/resolv.conf", ".dockerenv", "proc/x", "run/.containerenv")]
    base = [*BASE, folder("dev"), folder("proc"), folder("run")]
    result = protected(tmp_path, "x", base, again, [*scratch, *stubs], [removed("nowhere")], base=1)
    assert len(result.layers) == 3


def member_of(name: str, kind: bytes, **more: Any) -> Entry:
    return member(name, kind, **more), b""


def test_what_an_upper_layer_removed_or_replaced_is_in_no_layer(tmp_path: Path) -> None:
    result = protected(
        tmp_path,
        "x",
        BASE,
        [folder("app"), file("app/a", b"FIRST"), file("app/b", b"SECOND"), folder("app/d"), file("app/d/x", b"THIRD")],
        [folder("app"), file("app/a", b"new"), removed("app/b"), file("app/d", b"now a file")],
        base=1,
    )
    content = result.content()
    assert not any(word in content for word in (b"FIRST", b"SECOND", b"THIRD"))
    assert list(result.members(2)) == ["app", "app/a", "app/d"]
    assert (result.root / "app/a").read_bytes() == b"new"


def test_what_layers_that_stay_bring_back_is_hidden(tmp_path: Path) -> None:
    result = protected(
        tmp_path,
        "x",
        [*BASE, folder("d"), file("d/x"), file("d/y"), folder("e"), file("e/x"), folder("f"), file("f/g/h")],
        [removed("etc/passwd"), removed("d"), folder("d"), file("d/y", b"2"), opaque("e"), removed("f")],
        [folder("f"), file("f/new")],
        base=1,
    )
    assert list(result.members(2)) == ["d", "d/.wh.x", "d/y", "e", "e/.wh.x", "etc", "etc/.wh.passwd", "f", "f/.wh.g"]
    assert sorted(path.name for path in (result.root / "f").iterdir()) == ["new"]
    assert not (result.root / "etc/passwd").exists() and (result.root / "d/y").read_bytes() == b"2"


def test_times_do_not_depend_on_the_day(tmp_path: Path) -> None:
    def layers(day: int) -> list[list[Entry]]:
        build = [folder("app", mtime=day), file("app/new", mtime=day), file("app/kept", mtime=77), link("app/l", "x")]
        return [BASE, build]

    one = protected(tmp_path, "one", *layers(TODAY), base=1)
    two = protected(tmp_path, "two", *layers(TODAY + 86_400), base=1)
    assert one.digests() == two.digests()
    found = one.members(2)
    assert (found["app/new"].mtime, found["app/kept"].mtime) == (EPOCH, 77)
    other = protected(tmp_path, "three", *layers(TODAY), base=1, epoch=EPOCH - 1000)
    assert other.members(2)["app/new"].mtime == EPOCH - 1000
    later = protected(tmp_path, "four", *layers(TODAY), base=1, epoch=TODAY + 10**6)
    assert later.members(2)["app/new"].mtime == TODAY + 10**6


def test_the_order_in_the_tar_and_other_headers_do_not_matter(tmp_path: Path) -> None:
    build = [
        folder("app"), file("app/a", b"1", uid=5, gid=6), hard("app/b", "app/a"), link("app/c", "a"), folder("z"),
        file("z/x", b"1"),
    ]  # fmt: skip
    one = protected(tmp_path, "one", BASE, build, base=1)
    build = [
        folder("z"), file("z/x", b"1", uname="somebody"), folder("app/"), link("app/c", "a"),
        file("./app/b", b"1", uid=5, gid=6, gname="x", pax_headers={"comment": "made today"}), hard("/app/a", "app/b"),
    ]  # fmt: skip
    assert protected(tmp_path, "two", BASE, build, base=1).digests() == one.digests()
    found = one.members(2)
    assert list(found) == ["app", "app/a", "app/b", "app/c", "z", "z/x"]
    assert found["app/b"].linkname == "app/a" and (found["app/a"].uid, found["app/a"].gid) == (5, 6)


def test_parents_are_there_with_their_own_modes(tmp_path: Path) -> None:
    """An engine that misses a directory in a layer gives it any mode it likes."""
    result = protected(
        tmp_path,
        "x",
        [folder("secret", 0o700), folder("secret/in", 0o750), file("deep/x"), folder("tmp", 0o1777)],
        [file("secret/in/f"), file("tmp/x")],
        base=1,
        injected=("/secret/in/conf",),
    )
    for number in (2, 3):
        assert result.members(number)["secret"].mode == 0o700
        assert result.members(number)["secret/in"].mode == 0o750
    assert result.members(2)["tmp"].mode == 0o1777
    assert result.members(3)["deep"].mode == 0o755  # the base image's layer lacks it


# Encrypted directories.

SEALED: dict[str, Any] = {"sealed": ("/app",), "base": 1}


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param([[*BASE, file("app/f", b"TOPSECRET")]], id="in a layer of the base image"),
        pytest.param([BASE, [folder("app"), file("app/f", b"TOPSECRET")]], id="in a layer of the build"),
        pytest.param([[*BASE, file("app/f", b"TOPSECRET")], [removed("app/f")]], id="removed"),
        pytest.param([[*BASE, file("app/f", b"TOPSECRET")], [opaque("app")]], id="hidden"),
        pytest.param([[*BASE, file("app/f", b"TOPSECRET")], [folder("app"), file("app/f", b"2")]], id="replaced"),
        pytest.param([[*BASE, file("app/f", b"TOPSECRET")], [removed("app"), folder("app")]], id="made anew"),
        pytest.param([[*BASE, file("src", b"TOPSECRET")], [removed("src"), file("app/f", b"TOPSECRET")]], id="moved"),
        pytest.param([[*BASE, file("src", b"TOPSECRET"), file("app/g", b"TOPSECRET")], [removed("src")]], id="copied"),
        pytest.param([BASE, [file("app/f", b"TOPSECRET"), hard("app/g", "app/f")]], id="hard link"),
    ],
)
@pytest.mark.parametrize("base", [0, 1, 2])
def test_nothing_of_an_encrypted_directory_is_left_in_any_layer(
    tmp_path: Path, layers: list[list[Entry]], base: int
) -> None:
    result = protected(tmp_path, "x", *layers, sealed=("/app",), base=base)
    content = result.content()
    for word in (b"TOPSECRET", b"app/f", b"app/g", b"wh.f"):
        assert word not in content


def test_names_of_removed_secrets_are_not_left_as_whiteouts(tmp_path: Path) -> None:
    layers = [BASE, [file("app/SECRETNAME", b"x")], [removed("app/SECRETNAME"), file("etc/y")]]
    assert b"SECRETNAME" not in protected(tmp_path, "x", *layers, sealed=("/app",), base=3).content()


def test_a_base_image_that_only_has_the_empty_directory_stays(tmp_path: Path) -> None:
    empty = [folder("etc"), folder("app")]
    result = protected(tmp_path, "x", empty, [folder("app"), file("app/f", b"TOPSECRET")], **SEALED)
    assert result.digests()[0] == native_image(tmp_path, [empty]).layers[0].digest


def test_only_layers_with_secrets_are_rewritten(tmp_path: Path) -> None:
    layers = [[folder("etc"), file("etc/x")], [folder("app"), file("app/f", b"TOPSECRET"), file("etc/y")], [file("z")]]
    result = protected(tmp_path, "x", *layers, sealed=("/app",), base=3)
    image = native_image(tmp_path, layers)
    assert [result.digests()[number] == image.layers[number].digest for number in range(3)] == [True, False, True]
    assert list(result.members(1))[:2] == ["etc", "etc/y"]


def test_our_scratch_folder_is_no_part_even_of_a_base_image(tmp_path: Path) -> None:
    layers = [[*BASE, folder(".sconectl"), file(".sconectl/ca.pem", b"CERTIFICATE")]]
    assert b"CERTIFICATE" not in protected(tmp_path, "x", *layers, base=1).content()


@pytest.mark.parametrize("layer", [0, 1])
def test_an_image_with_a_launcher_is_refused_even_if_it_was_removed(tmp_path: Path, layer: int) -> None:
    layers = [BASE, [file("etc/x")], [removed("scone")]]
    layers[layer] = [*layers[layer], folder("scone"), file("scone/x")]
    with pytest.raises(BuildFailed, match="already has /scone"):
        protected(tmp_path, "x", *layers, base=1)


# Nothing is done twice.


def test_an_unchanged_layer_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [BASE, [folder("app"), file("app/f", b"1" * 5000)], [file("etc/z")]]
    one = protected(tmp_path, "one", *layers, sealed=("/app",), base=1)
    (tmp_path / "two").mkdir()
    (tmp_path / "one/cache").rename(tmp_path / "two/cache")
    written: list[Path] = []

    def counting(file: Path, *more: Any) -> LayerWriter:
        written.append(file)
        return LayerWriter(file, *more)

    monkeypatch.setattr("sconectl.image.layers.image_layers.LayerWriter", counting)
    two = protected_layers_lazily(tmp_path / "two", [*layers[:2], [file("etc/z", b"changed")]])
    assert [path.name for path in written] == ["rewritten-2.tar"]
    assert two[:3] == one.digests()[:3] and two[3] != one.digests()[3]


def protected_layers_lazily(work: Path, layers: list[list[Entry]]) -> list[str]:
    """Return the digests of the layers without asking for their tars."""
    image = native_image(work, layers)
    assembly = Assembly(image.info.layers[:1], KEY, launcher(work), BuildTime(EPOCH, EPOCH), work, work / "cache")
    return [layer.digest for layer in protect(image, protection(sealed=("/app",)), assembly).layers]


def test_the_key_is_part_of_what_is_remembered(tmp_path: Path) -> None:
    layers = [BASE, [folder("app"), file("app/f", b"1" * 5000)]]
    one = protected(tmp_path, "one", *layers, **SEALED)
    (tmp_path / "two").mkdir()
    (tmp_path / "one/cache").rename(tmp_path / "two/cache")
    two = protected_layers(tmp_path / "two", *layers, key=bytes(32), **SEALED)
    assert two.digests()[2] != one.digests()[2]


# Times.


@pytest.mark.parametrize(
    ("created", "epoch", "expected"),
    [
        ("2024-05-06T07:08:09.123456789Z", None, (1714979289, 1714979289)),
        ("2024-05-06T09:08:09+02:00", None, (1714979289, 1714979289)),
        ("2024-05-06T07:08:09Z", 7, (7, 1714979289)),
        ("0001-01-01T00:00:00Z", None, (0, 0)),
        ("", 5, (5, 0)),
        ("yesterday", None, (0, 0)),
    ],
)
def test_the_time_of_an_image(created: str, epoch: int | None, expected: tuple[int, int]) -> None:
    time = BuildTime.of(created, epoch)
    assert (time.epoch, time.base) == expected


def test_times_before_1970_are_not_kept() -> None:
    assert BuildTime(10, 10).clamped(Member("/x", "f", 0, mtime=-5)).mtime == 10


# Any split of the same changes into tars gives the same layer.

FILES = st.dictionaries(
    st.sampled_from(["a", "b", "c/x", "c/y", "d/e/f"]), st.sampled_from([b"", b"1", b"22"]), min_size=1, max_size=5
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, FILES, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_image(
    tmp_path_factory: pytest.TempPathFactory, lower: dict[str, bytes], upper: dict[str, bytes], chance: random.Random
) -> None:
    def layer(files: dict[str, bytes], day: int) -> list[Entry]:
        folders = {name[:cut] for name in files for cut in range(len(name)) if name[cut] == "/"}
        entries = [folder(name, mtime=day) for name in sorted(folders)]
        entries += [file(name, content, mtime=day) for name, content in files.items()]
        chance.shuffle(entries)
        return entries

    found = []
    for day in (TODAY, TODAY + 5):
        work = tmp_path_factory.mktemp("day")
        result = protected_layers(work, BASE, layer(lower, day), layer(upper, day), base=1)
        found.append(result.digests())
    assert found[0] == found[1]
