"""What every toolchain can do: protect a native image, measure and sign it, and bring what starts its program.

A toolchain is one file or folder beside this file, and one line in `cli.wiring`; nothing else knows one by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sconectl.image.build.native_build import BuildEnvironment
    from sconectl.image.layers.image_archive import ImageLayer
    from sconectl.image.layers.layer_rewrite import BuildTime
    from sconectl.image.layers.root_tree import RootTree
    from sconectl.image.layers.saved_image import NativeImage
    from sconectl.plan.facts.image_facts import Fspf, Signer
    from sconectl.plan.facts.toolchain_traits import ToolchainTraits
    from sconectl.ports import ImageEngine, ImageInfo, Progress
    from sconectl.protect.index import Difference
    from sconectl.protect.signature import SignedEnclave


@dataclass(frozen=True)
class Workshop:
    """Where a toolchain makes its launcher: an engine, and what build steps need there.

    Layers are written to `work`; `cache` is the directory for what can be made again; `detail` is told what the engine
    prints.
    """

    engine: ImageEngine
    environment: BuildEnvironment
    work: Path
    cache: Path
    detail: Progress


@dataclass(frozen=True)
class Launcher:
    """What starts and attests the program: a layer of its own, and the digest (64 hex digits) of what is in it."""

    layer: ImageLayer
    digest: str


@dataclass(frozen=True)
class Protection:
    """What to do with which path. All paths are absolute and normalised; missing `folders` are made.

    `volumes` are the names of the volumes by their paths.
    """

    sealed: tuple[str, ...]
    outside: tuple[str, ...]
    injected: tuple[str, ...]
    parameters: Mapping[str, str]
    folders: tuple[str, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Assembly:
    """What an image is made with.

    `base` are the digests (`sha256:…`) of its base image's layers, `key` (32 bytes) encrypts directories; layers are
    written to `work`, and `cache` is the directory for what can be remembered of them. `signing_key` (PEM) is empty if
    the image is not to be signed.
    """

    base: Sequence[str]
    key: bytes = field(repr=False)
    launcher: Launcher
    time: BuildTime
    work: Path
    cache: Path
    signing_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class ProtectedImage:
    """The result: the layers of the image, and what a policy has to know about it.

    `root` is the digest (64 hex digits) of the protected root, `outside` are the paths that do not count for it; `fspf`
    is None without encrypted files, and `signer` without a signature.
    """

    layers: Sequence[ImageLayer]
    measurement: str
    root: str
    outside: tuple[str, ...]
    fspf: Fspf | None
    signer: Signer | None


@dataclass(frozen=True)
class MeasuredImage:
    """`found` is computed from the files, `expected` from the index in the image; `changes` are the differences.

    `root` is the digest of the index of the files that were found; `signed` is the content of the image's signature,
    if that is valid; `faults` are those of the signature.
    """

    found: str
    expected: str
    root: str
    parameters: Mapping[str, str]
    changes: tuple[Difference, ...]
    signed: SignedEnclave | None
    faults: tuple[str, ...]


class Toolchain(Protocol):
    """Turns a native image into a confidential one."""

    @property
    def traits(self) -> ToolchainTraits:
        """Its name, and what images need that it protected, and cannot do."""

    @property
    def entrypoint(self) -> Sequence[str]:
        """The command that an image starts with, whatever its program is."""

    @property
    def health_command(self) -> Sequence[str]:
        """The command that asks in a running container for the health of the program."""

    @property
    def interpreter(self) -> Sequence[str]:
        """The command that runs a Python script in any image that has the launcher's layer on top."""

    def launcher_key(self, base: ImageInfo) -> str:
        """Return a digest (64 hex digits) of all that the launcher made in `base` depends on."""

    def has_launcher(self, engine: ImageEngine, base: ImageInfo, cache: Path) -> bool:
        """Say whether an earlier run left the launcher that is made in `base`. Builds nothing."""

    def launcher(self, base: ImageInfo, workshop: Workshop) -> Launcher:
        """Return the launcher made in `base`, building it if it is not there. Raises `BuildFailed`."""

    def protect(self, image: NativeImage, protection: Protection, assembly: Assembly) -> ProtectedImage:
        """Protect, measure and sign a native image. Raises `BuildFailed` for what cannot be protected."""

    def measure(self, tree: RootTree) -> MeasuredImage:
        """Measure a confidential image by its files, as what starts in it will.

        Raises `PlanImpossible` for files that are no confidential image of this toolchain, and `BuildFailed`.
        """
