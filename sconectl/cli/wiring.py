"""Production wiring: the only place that constructs adapters. Everything is made when it is first needed."""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.cli.output.console import Console, note
from sconectl.cli.output.printable import shown
from sconectl.errors import UsageError
from sconectl.regular_files import first_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from sconectl.image.build.native_build import BuildEnvironment
    from sconectl.plan.facts.toolchain_traits import Toolchains, ToolchainTraits
    from sconectl.ports import (
        Containers,
        FileHistory,
        ImageEngine,
        ImageSigner,
        Keys,
        LockFile,
        Progress,
        Registry,
        SessionStore,
        Workspace,
    )
    from sconectl.toolchains.interface import Toolchain
    from sconectl.usecases.apply_service import ServiceWorld

MAX_BUNDLE = 16 << 20  # bytes of a file of certificates
_MAX_DIGITS = 10
_CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")


def data_directory() -> Path:
    """Return the directory of sconectl's own data ($XDG_DATA_HOME/sconectl)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says to ignore relative paths.
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "sconectl"


def cas_directory(given: Path | None = None) -> Path:
    """Return where the embedded CAS lives: in the directory that is given, else with the other data."""
    return given or data_directory() / "cas"


def cache_directory() -> Path:
    """Return the directory of files that sconectl can make again ($XDG_CACHE_HOME/sconectl)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "sconectl"


def source_date_epoch() -> int | None:
    """Return the time that images say they were made, if SOURCE_DATE_EPOCH gives one. Raises `UsageError`."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,10}", text):
        raise UsageError("SOURCE_DATE_EPOCH is not a number of seconds since 1970", hint="for example: date +%s")
    return int(text)


def today() -> date:
    """Return the date by which waivers are judged: SOURCE_DATE_EPOCH if it is a number, else that of the clock."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isascii() and epoch.isdecimal() and len(epoch) <= _MAX_DIGITS:
        return datetime.fromtimestamp(int(epoch), UTC).date()
    return date.today()


def default_cas_config() -> Path:
    """Return the directory of the client identity, unless an option gives another one."""
    return Path.home() / ".cas"


DEFAULT_TOOLCHAIN = "sim"


def _toolchains() -> Iterator[Toolchain]:
    """Yield every toolchain: a new one is one more line here."""
    from sconectl.toolchains.sim.toolchain import SimToolchain

    yield SimToolchain()


def toolchains() -> dict[str, Toolchain]:
    """Return the toolchains that can protect images, by name."""
    return {toolchain.traits.name: toolchain for toolchain in _toolchains()}


def toolchain_traits() -> dict[str, ToolchainTraits]:
    """Return the traits of all toolchains by name, also of those that protect images elsewhere only."""
    from sconectl.toolchains.scone import TRAITS

    return {name: toolchain.traits for name, toolchain in toolchains().items()} | {TRAITS.name: TRAITS}


def toolchains_of(chosen: str) -> Toolchains:
    """Return the traits of the toolchain that protects the images of this run, and those of all others."""
    from sconectl.plan.facts.toolchain_traits import Toolchains

    known = toolchain_traits()
    return Toolchains(known[chosen], known)


class Wiring:
    """The adapters of one run."""

    def __init__(
        self,
        target: Path = Path("target"),
        cas_config: Path | None = None,
        lock: Path | None = None,
        reached: Callable[[str], str] = str,
    ) -> None:
        """Take where things are; `reached` gives for the address of a CAS in a manifest the one for this machine."""
        self._target = target
        self._lock = lock
        self._reached = reached
        self._cas_config = cas_config or default_cas_config()
        self._stores: dict[tuple[str, str | None, str | None], SessionStore] = {}

    @cached_property
    def engine(self) -> ImageEngine:
        """The container engine."""
        from sconectl.adapters.docker_engine import DockerEngine

        return DockerEngine()

    @cached_property
    def containers(self) -> Containers:
        """The container engine, for containers that stay."""
        from sconectl.adapters.docker_containers import DockerContainers

        return DockerContainers()

    @cached_property
    def registry(self) -> Registry:
        """The image registries."""
        from sconectl.adapters.registry import HttpRegistry

        return HttpRegistry()

    def image_signer(self, command: Sequence[str], key: str, detail: Progress) -> ImageSigner:
        """Return the program that signs images with a key. Raises `BuildFailed` and `UsageError`."""
        from sconectl.adapters.image_signer import ImageSigner

        return ImageSigner(command, key, detail)

    @cached_property
    def keys(self) -> Keys:
        """The local key store."""
        from sconectl.adapters.key_store import KeyStore

        return KeyStore(data_directory() / "keys")

    @cached_property
    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs sessions, made on first use."""
        from sconectl.cas.client.identity import CasConfig

        return CasConfig(self._cas_config).signing_key()

    @cached_property
    def workspace(self) -> Workspace:
        """The target directory."""
        from sconectl.adapters.workspace_disk import DiskWorkspace

        return DiskWorkspace(self._target)

    @cached_property
    def lock(self) -> LockFile:
        """The lock: the file that is given, else sconectl.lock beside the target directory."""
        from sconectl.adapters.lock_disk import DiskLock

        return DiskLock(self._lock_path)

    @property
    def lock_history(self) -> FileHistory:
        """The lock in the commits of the user's repository."""
        from sconectl.adapters.git_history import GitHistory

        return GitHistory(self._lock_path)

    @property
    def _lock_path(self) -> Path:
        from sconectl.apply.lock.lock_file import FILE

        return self._lock or self._target.parent / FILE

    def service_world(
        self,
        console: Console,
        store: SessionStore | None,
        *,
        toolchain: str,
        push: bool,
        ca_bundle: str,
        launcher_base: str,
    ) -> ServiceWorld:
        """Return the outside world of a service manifest, or of an image that is converted."""
        from sconectl.plan.service.base_images import DEFAULT_BASES
        from sconectl.usecases.apply_service import ServiceWorld

        return ServiceWorld(
            toolchain=toolchains()[toolchain],
            engine=self.engine,
            registry=lambda: self.registry,
            keys=self.keys,
            workspace=self.workspace,
            store=store,
            environment=build_environment(ca_bundle),
            launcher_base=launcher_base or DEFAULT_BASES["python"],
            cache=cache_directory(),
            push=push,
            progress=console.step,
            detail=console.detail,
            remark=lambda text: note(f"note: {shown(text)}"),
            epoch=source_date_epoch(),
        )

    def store(self, cas_url: str, cas_key: str | None = None, tolerance: str | None = None) -> SessionStore:
        """Return a connection to a CAS; `local` is the embedded one. `tolerance` holds flags of `cas attest`."""
        wanted = (cas_url, cas_key, tolerance)
        if wanted not in self._stores:
            from sconectl.cas.connect import connect

            self._stores[wanted] = connect(
                self._reached(cas_url),
                config_dir=self._cas_config,
                data_dir=cas_directory(),
                cas_key=cas_key,
                tolerance=tolerance,
                notify=note,
            )
        return self._stores[wanted]


def build_environment(ca_bundle: str) -> BuildEnvironment:
    """Return the environment of build steps: the configured CA bundle, else the one that tools of this machine use."""
    from sconectl.image.build.native_build import BuildEnvironment

    path = ca_bundle or next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), "")
    if not path or (not ca_bundle and not Path(path).is_file()):
        return BuildEnvironment()
    try:
        content = first_bytes(Path(path), MAX_BUNDLE + 1)
    except OSError as error:
        raise UsageError(f"the CA bundle {path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BUNDLE:
        raise UsageError(f"the CA bundle {path} is larger than {MAX_BUNDLE} bytes", hint="name a file of certificates")
    return BuildEnvironment(content)
