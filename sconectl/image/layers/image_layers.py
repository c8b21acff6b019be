"""Makes the layers of a protected image that come from its native image: taken over, rewritten, or known from before.

In: a native image and the plans of its layers. Out: layers, and what is known of the files encrypted in them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import posixpath
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache, partial
from pathlib import Path

from sconectl.errors import BuildFailed
from sconectl.image.layers.image_archive import ImageLayer
from sconectl.image.layers.layer_cache import LayerCache
from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.layer_rewrite import LayerPlan
from sconectl.image.layers.layer_writer import Layer, LayerWriter
from sconectl.image.layers.saved_image import NativeLayer
from sconectl.protect.fspf import SealedFile
from sconectl.protect.packs import Plain, pack_size, write_pack

_FORMAT = "rewritten-2"


@dataclass(frozen=True)
class NativePart:
    """The result for one native layer: a layer, unless nothing was left of it, and its encrypted files."""

    layer: ImageLayer | None
    sealed: Sequence[SealedFile] = ()


@dataclass(frozen=True)
class LayerMaker:
    """Makes layers in the directory `work`. `data_key` encrypts; `known` remembers rewritten layers."""

    data_key: bytes
    work: Path
    known: LayerCache

    def make(self, native: NativeLayer, plan: LayerPlan) -> NativePart:
        """Return the layer for a native one. Its tar is only written if it is needed, or not known from before."""
        if plan.verbatim:
            return NativePart(ImageLayer(native.digest, lambda: native.file))
        if plan.empty:
            return NativePart(None)
        key = self._key(plan)
        write = cache(partial(self._write, native, plan))
        found = self._remembered(key)
        if found is None:
            layer, sealed = write()
            self.known.keep(key, {"digest": layer.digest, "sealed": sealed})
            return NativePart(ImageLayer(layer.digest, lambda: layer.file), sealed)
        digest, sealed = found

        def again() -> Path:
            layer, _ = write()
            if layer.digest != digest:
                raise BuildFailed("a layer came out different", hint="remove the cache directory of sconectl")
            return layer.file

        return NativePart(ImageLayer(digest, again), sealed)

    def _key(self, plan: LayerPlan) -> str:
        """Return a digest of everything that the rewritten layer depends on."""
        described = [[*astuple(member)[:9], member.xattrs, member.device] for member in plan.entries]
        sealed = [[member.path, member.mode, member.size, member.digest] for member in plan.sealed]
        secret = hmac.new(self.data_key, _FORMAT.encode(), hashlib.sha256).hexdigest() if sealed else ""
        text = json.dumps([_FORMAT, plan.pack, described, sealed, secret], separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def _remembered(self, key: str) -> tuple[str, list[SealedFile]] | None:
        value = self.known.value(key)
        try:
            return None if value is None else (str(value["digest"]), [SealedFile(*row) for row in value["sealed"]])
        except (KeyError, TypeError):
            return None

    def _write(self, native: NativeLayer, plan: LayerPlan) -> tuple[Layer, list[SealedFile]]:
        file = self.work / f"rewritten-{plan.number}.tar"
        contents = [
            Plain(member.path, member.mode, member.size, native.file, member.offset, member.digest)
            for member in plan.sealed
        ]
        pack = Member(plan.pack, "f", 0o644, size=pack_size(contents))
        entries = [*plan.entries, *folders_above(pack.path), pack] if pack.size else plan.entries
        start = 0
        writer = LayerWriter(file, native.file)
        try:
            for entry in sorted(entries, key=lambda entry: entry.path):
                if entry is pack:
                    start = writer.reserve(pack)
                else:
                    writer.add(entry)
        finally:
            writer.close()
        sealed = write_pack(self.data_key, str(plan.number), contents, file, start=start) if contents else []
        return writer.finish(), sealed


def folders_above(path: str) -> list[Member]:
    """Return the directories above a path of ours, which no native image has."""
    found = []
    while (path := posixpath.dirname(path)) != "/":
        found.append(Member(path, "d", 0o755))
    return found
