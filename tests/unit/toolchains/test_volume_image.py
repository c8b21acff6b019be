"""An image with volumes: links to memory, kept directories, and nothing of what the native image has there."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from sconectl.protect.fspf import open_index
from sconectl.runtime.files import sealed_target, volume_storage, volume_target

from .root_tars import KEY, Result, file, folder, hard, protected, protected_layers

DATA = (folder("v", 0o2750, uid=999, gid=998), folder("v/inner"), file("v/inner/x", b"INITIAL"))
VOLUMES = {"/v": "V1", "/srv/new": "new"}


def top(result: Result) -> dict[str, tarfile.TarInfo]:
    return result.members(len(result.layers) - 1)


def test_the_path_is_a_link_and_the_directory_is_kept(tmp_path: Path) -> None:
    result = protected(tmp_path, *DATA, volumes=VOLUMES)
    entries = result.index_file().entries
    assert entries["/v"] == ("l", "/scone/memory/volumes/V1") == ("l", volume_target("V1"))
    assert entries["/srv/new"] == ("l", volume_target("new")) and entries["/srv"] == ("d", "755")
    assert entries["/usr/lib/scone/originals/v"] == ("d", "2750")
    assert entries["/usr/lib/scone/originals/srv/new"] == ("d", "755")
    assert not [path for path in entries if path.startswith("/v/")]
    found = top(result)
    assert found["v"].issym() and found["srv/new"].issym()
    kept = {name: (found[name].mode, found[name].uid, found[name].gid) for name in found if found[name].isdir()}
    assert kept["usr/lib/scone/originals/v"] == (0o2750, 999, 998) == kept["scone/volumes/V1"]
    assert kept["usr/lib/scone/originals/srv/new"] == (0o755, 0, 0) == kept["scone/volumes/new"]
    assert kept["scone/memory"] == (0o1777, 0, 0)  # programs that are not root open volumes there, too
    assert kept["scone/volumes"] == (0o755, 0, 0)
    assert volume_storage("V1") == "/scone/volumes/V1"


@pytest.mark.parametrize("base", [0, 1, 2])
def test_what_was_there_is_in_no_layer(tmp_path: Path, base: int) -> None:
    """Neither of a build's layers nor of those of the base image, and whichever has a part of it."""
    layers = ([folder("app"), file("app/main"), *DATA], [folder("v"), file("v/later", b"LATER")])
    result = protected_layers(tmp_path, *layers, base=base, volumes=VOLUMES)
    assert b"INITIAL" not in result.content() and b"LATER" not in result.content()
    assert (result.root / "v").is_symlink() and (result.root / "app/main").is_file()


def test_an_empty_directory_of_the_base_image_changes_no_layer_of_it(tmp_path: Path) -> None:
    layers = ([folder("app"), folder("v", 0o700)],)
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    one = protected_layers(tmp_path / "with", *layers, base=1, volumes={"/v": "V1"})
    other = protected_layers(tmp_path / "without", *layers, base=1)
    assert one.digests()[0] == other.digests()[0]
    assert one.protected.measurement != other.protected.measurement


def test_a_file_that_is_also_elsewhere_stays_there(tmp_path: Path) -> None:
    result = protected(tmp_path, *DATA, folder("z"), hard("z/x", "v/inner/x"), volumes=VOLUMES)
    assert (result.root / "z/x").read_bytes() == b"INITIAL"
    assert not (result.root / "v/inner").exists()


def test_the_content_of_the_native_directory_makes_no_difference(tmp_path: Path) -> None:
    def measured(name: str, *members: object, volume: str = "V1") -> str:
        (tmp_path / name).mkdir()
        return protected(tmp_path / name, *members, volumes={"/v": volume}).protected.measurement  # type: ignore[arg-type]

    one = measured("one", folder("v"))
    assert one == measured("filled", folder("v"), file("v/x")) == measured("missing")
    assert one != measured("mode", folder("v", 0o700)) and one != measured("name", folder("v"), volume="V2")


def test_the_working_directory_may_be_a_volume(tmp_path: Path) -> None:
    result = protected(tmp_path, *DATA, volumes=VOLUMES, folders=("/v", "/srv/new/inner"))
    assert result.index_file().entries["/srv/new"] == ("l", volume_target("new"))
    assert not (result.root / "scone/memory/volumes").exists()


def test_where_the_kept_directories_are_encrypted_they_come_with_the_others(tmp_path: Path) -> None:
    """As with `--dir /usr/lib`: the launcher finds them behind its link, once that is opened."""
    lib = (folder("usr"), folder("usr/lib"), file("usr/lib/python", b"SECRET"))
    members = (*DATA, *lib, folder("etc"), file("etc/app.conf"))
    result = protected(tmp_path, *members, volumes=VOLUMES, sealed=("/usr/lib",), injected=("/etc/app.conf",))
    entries = result.index_file().entries
    assert entries["/usr/lib"] == ("l", sealed_target("/usr/lib"))
    assert not [path for path in entries if path.startswith("/usr/lib/")]
    assert not [name for name in top(result) if name.startswith("usr/lib/")]
    assert top(result)["scone/volumes/V1"].uid == 999
    fspf = result.protected.fspf
    assert fspf is not None
    sealed = open_index(KEY, fspf.tag, (result.root / "scone/image/fs.fspf").read_bytes())
    kept = {row.path: row.mode for row in sealed.files if row.path.startswith("/usr/lib/scone/originals/")}
    assert kept == {
        "/usr/lib/scone/originals/srv": 0o755,
        "/usr/lib/scone/originals/srv/new": 0o755,
        "/usr/lib/scone/originals/v": 0o2750,
    }
