"""Turns a native image into a protected, measured one without any hardware.

In: a native image, and what to protect how. Out: layers, measurement and the state of the encrypted files. Raises
`BuildFailed` for what cannot be protected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sconectl.errors import BuildFailed
from sconectl.image.build.native_build import SCRATCH
from sconectl.image.layers.image_archive import ImageLayer
from sconectl.image.layers.image_layers import LayerMaker, folders_above
from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.layer_rewrite import PACKS, base_layers, plan_layers
from sconectl.image.layers.layer_writer import LayerWriter
from sconectl.image.layers.root_index import MeasuredRoot, root_index
from sconectl.image.layers.root_tree import RootTree
from sconectl.image.layers.saved_image import NativeImage
from sconectl.plan.facts.image_facts import Fspf, Signer
from sconectl.protect.fspf import SealedFile, data_key, seal_index
from sconectl.protect.index import is_below
from sconectl.protect.measure import IMAGE_DIR, LAUNCHER_ROOT, measurement
from sconectl.protect.regions import ENCRYPTED, KERNEL, NOT_PROTECTED, Region
from sconectl.protect.signature import sign, verify
from sconectl.runtime.files import VOLUME_MEMORY, volume_storage
from sconectl.toolchains.interface import Assembly, ProtectedImage, Protection

IMAGE = f"{LAUNCHER_ROOT}/{IMAGE_DIR}"
FSPF_PATH = f"{IMAGE}/fs.fspf"


def protect(image: NativeImage, protection: Protection, assembly: Assembly) -> ProtectedImage:
    """Protect a native image. Raises `BuildFailed` for what cannot be protected."""
    if any(is_below(member.path, (LAUNCHER_ROOT,)) for layer in image.layers for member in layer.members):
        raise BuildFailed("the native image already has /scone: it is a confidential image itself")
    root = root_index(
        image.tree,
        outside=protection.outside,
        sealed=protection.sealed,
        injected=protection.injected,
        folders=protection.folders,
        volumes=protection.volumes,
    )
    maker = LayerMaker(data_key(assembly.key), assembly.work, LayerCache(assembly.cache / "layers"))
    plans = plan_layers(image, assembly.base, root, assembly.time)
    parts = [maker.make(layer, plan) for layer, plan in zip(image.layers, plans, strict=True)]
    fspf, tag = _fspf(root, [file for part in parts for file in part.sealed], protection, assembly.key)
    launcher, parameters = assembly.launcher.digest, dict(protection.parameters)
    found = measurement(launcher=launcher, root=root.index.digest(), parameters=parameters)
    enclave: dict[str, object] = {"launcher": launcher, "parameters": parameters}
    signature, signer = b"", None
    if assembly.signing_key:
        signature = sign(found, parameters, assembly.signing_key, assembly.time.epoch)
        signed = verify(signature)
        signer = Signer(mrsigner=signed.mrsigner, isvprodid=signed.isvprodid, isvsvn=signed.isvsvn)
        enclave["signer"] = signer.mrsigner
    files = {
        f"{IMAGE}/enclave.json": json.dumps(enclave, indent=1, sort_keys=True).encode(),
        f"{IMAGE}/index.json": root.index.to_bytes(),
        f"{IMAGE}/sigstruct.bin": signature,
        FSPF_PATH: fspf,
    }
    given = {path: data for path, data in files.items() if data}
    enclave_layer = _enclave_layer(image, root, given, protection.volumes, assembly)
    native = [part.layer for part in parts]
    count = base_layers(image, assembly.base)
    layers = [*native[:count], assembly.launcher.layer, *native[count:], enclave_layer]
    return ProtectedImage(
        [layer for layer in layers if layer],
        measurement=found,
        root=root.index.digest(),
        outside=root.index.outside,
        fspf=Fspf(path=FSPF_PATH, tag=tag) if tag else None,
        signer=signer,
    )


def _fspf(root: MeasuredRoot, packed: Sequence[SealedFile], protection: Protection, key: bytes) -> tuple[bytes, str]:
    """Return the encrypted index of the encrypted directories and its tag, or nothing if there are none."""
    if not protection.sealed:
        return b"", ""
    others = [
        SealedFile(path, member.kind, member.mode, target=member.target)
        for path, member in root.sealed.items()
        if member.kind in "dl"
    ]
    regions = [Region(path, ENCRYPTED, KERNEL, PACKS) for path in protection.sealed]
    return seal_index(key, [Region("/", NOT_PROTECTED, KERNEL, "/"), *regions], [*others, *packed])


def _enclave_layer(
    image: NativeImage,
    root: MeasuredRoot,
    files: Mapping[str, bytes],
    volumes: Mapping[str, str],
    assembly: Assembly,
) -> ImageLayer:
    """Write the layer on top: what makes a native image a protected one."""
    tree, time = image.tree, assembly.time
    entries = {path: Member(path, "d", 0o755) for path in root.made}
    entries |= {path: Member(path, "l", 0o777, target=target) for path, target in root.links.items()}
    entries |= {path: replace(tree.members[source], path=path, target="") for path, source in root.originals.items()}
    entries |= {member.path: member for member in _volume_directories(root, volumes)}
    gone = frozenset((*root.index.sealed, *root.volumes, f"/{SCRATCH}"))
    entries |= _implied(tree, base_layers(image, assembly.base), gone)
    for path in (*entries, *files):
        for folder in folders_above(path):
            entries.setdefault(folder.path, tree.members.get(folder.path, folder))
    entries |= {path: Member(path, "f", 0o644, size=len(content)) for path, content in files.items()}
    writer = LayerWriter(assembly.work / "enclave.tar")
    try:
        for path, entry in sorted(entries.items()):
            dated = time.clamped(entry) if entry.mtime else replace(entry, mtime=time.epoch)
            if path in files:
                writer.add_bytes(dated, files[path])
            elif path in root.originals:
                writer.add_copy(dated, tree.file(root.originals[path]))
            else:
                writer.add(dated)
    finally:
        writer.close()
    layer = writer.finish()
    return ImageLayer(layer.digest, lambda: layer.file)


def _volume_directories(root: MeasuredRoot, volumes: Mapping[str, str]) -> Iterator[Member]:
    """Yield the directories that volumes need: those that are kept, and where memory and storage are mounted.

    Engines give a new volume the owner and mode of the directory that it is mounted over, so a program that is not
    root can write to its storage; and they give a tmpfs the mode of its directory.
    """
    if volumes:
        yield Member(VOLUME_MEMORY, "d", 0o1777)
    for path, kept in root.mounted.items():
        if not is_below(kept.path, root.index.sealed):  # it is among the encrypted ones
            yield kept
        yield replace(kept, path=volume_storage(volumes[path]))


def _implied(tree: RootTree, base: int, gone: frozenset[str]) -> dict[str, Member]:
    """Return the directories that the layers of the base image need and do not have: engines differ in their modes."""
    return {
        path: tree.members[path]
        for path, number in tree.implied.items()
        if number < base and path in tree.members and not is_below(path, gone)
    }
