"""Whether an image is what it says: from an archive, without an engine; every claim that is wrong is named."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import facts

from sconectl.errors import BuildFailed, PlanImpossible, UsageError
from sconectl.plan.facts.image_facts import Protected
from sconectl.plan.facts.image_label import LABEL, ImageLabel
from sconectl.protect.index import Index, directory_entry, file_entry
from sconectl.protect.measure import NOT_LAUNCHER, measurement
from sconectl.toolchains.sim.toolchain import SimToolchain
from sconectl.usecases.measure import ArchiveFile, Comparison, compare

FILES = {"app/main.py": b"print(1)\n", "scone/runtime": b"code"}
PARAMETERS = dict(facts().parameters)
Archive = dict[str, Any]


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in sorted({str(Path(path).parent) for path in files} | {"scone"}):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _entry(content: bytes) -> tuple[str, ...]:
    return file_entry(0o644, len(content), hashlib.sha256(content).hexdigest())


def _description() -> tuple[dict[str, bytes], str, str]:
    """Return the files that describe the image, its measurement and the digest of its root."""
    entries = {"/app": directory_entry(0o755), "/app/main.py": _entry(FILES["app/main.py"])}
    index = Index(("/scone",), (), entries)
    launcher = Index(NOT_LAUNCHER, (), {"/runtime": _entry(b"code")}).digest()
    enclave = json.dumps({"launcher": launcher, "parameters": PARAMETERS}).encode()
    value = measurement(launcher=launcher, root=index.digest(), parameters=PARAMETERS)
    return {"scone/image/index.json": index.to_bytes(), "scone/image/enclave.json": enclave}, value, index.digest()


def archive(
    file: Path,
    *,
    top: dict[str, bytes] | None = None,
    label: dict[str, Any] | None = None,
    bare: bool = False,
    copies: int = 1,
) -> str:
    """Write an image as `docker save` does; `top` is one more layer, `label` changes the label."""
    described, value, root = _description()
    given = facts().model_copy(update={"measurement": value, "protected": Protected(root=root)})
    text = json.dumps({**json.loads(ImageLabel.of(given, simulated=True).text()), **(label or {})})
    layers = [_tar(FILES if bare else {**FILES, **described}), *([_tar(top)] if top else [])]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": None if bare else {LABEL: text}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }
    config = json.dumps(document).encode()
    parts = {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    entry = {"Config": "config.json", "RepoTags": ["web:1"], "Layers": list(parts)}
    parts |= {"config.json": config, "manifest.json": json.dumps([entry] * copies).encode()}
    file.write_bytes(_tar(parts))
    return value


def compared(file: Path, tmp_path: Path) -> Comparison:
    archive = ArchiveFile(file)
    return compare("web:1", archive.info(), archive, tmp_path / "cache", SimToolchain())


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_that_is_what_it_says(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "image.tar"
    value = archive(file)
    if packed:
        file.write_bytes(gzip.compress(file.read_bytes()))
    found = compared(file, tmp_path)
    assert found.wrong == ()
    assert found.measured.found == value
    assert found.label is not None
    assert found.label.measurement == value


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    value = archive(file, top={"app/main.py": b"print(2)\n", "app/new": b""})
    found = compared(file, tmp_path)
    assert found.wrong[:2] == ("changed: /app/main.py", "added: /app/new")
    assert f"the label says that the measurement is {value}" in found.wrong[-1]
    assert found.measured.found in found.wrong[-1]


@pytest.mark.parametrize(
    ("label", "part"),
    [
        ({"measurement": "0" * 64}, "the label says that the measurement is 000"),
        ({"protected": {"root": "0" * 64, "encrypted": [], "outside": []}}, "about the protected root"),
        ({"parameters": {"mode": "debug"}}, "about the parameters"),
        ({"signer": {"mrsigner": "0" * 64, "isvprodid": 0, "isvsvn": 0}}, "about the signer"),
        ({"measurement": 1}, "cannot be understood"),
    ],
)
def test_every_wrong_claim_of_the_label_is_named(tmp_path: Path, label: dict[str, Any], part: str) -> None:
    file = tmp_path / "image.tar"
    archive(file, label=label)
    [wrong] = compared(file, tmp_path).wrong
    assert part in wrong


def test_an_ordinary_image_is_no_confidential_one(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    archive(file, bare=True)
    with pytest.raises(PlanImpossible, match="no confidential image"):
        compared(file, tmp_path)


def test_several_images_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    archive(file, copies=2)
    with pytest.raises(UsageError, match="holds 2 images"):
        compared(file, tmp_path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8bxx", _tar({"a": b"b"}), _tar({"manifest.json": b"["})])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="not the archive of an image"):
        compared(file, tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    archive(file)
    file.write_bytes(file.read_bytes().replace(b"print(1)", b"print(2)"))
    with pytest.raises(BuildFailed):
        compared(file, tmp_path)
