"""What the rest of sconectl sees of the toolchain `sim`. What it takes is loaded when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.policy.forms.tolerations import SIMULATION
from sconectl.toolchains.sim.commands import ASK_HEALTH, ENTRYPOINT, INTERPRETER

if TYPE_CHECKING:
    from sconectl.image.layers.root_tree import RootTree
    from sconectl.image.layers.saved_image import NativeImage
    from sconectl.ports import ImageEngine, ImageInfo
    from sconectl.toolchains.interface import Assembly, Launcher, MeasuredImage, ProtectedImage, Protection, Workshop


class SimToolchain:
    """Protects images without any hardware; see docs/simulation.md for what that shows and what it does not."""

    traits = ToolchainTraits("sim", SIMULATION, sgx=False, volumes=True)
    entrypoint = ENTRYPOINT
    health_command = ASK_HEALTH
    interpreter = INTERPRETER

    def launcher_key(self, base: ImageInfo) -> str:
        """Return a digest (64 hex digits) of all that the launcher made in `base` depends on."""
        from sconectl.toolchains.sim.launcher_bundle import bundle_key

        return bundle_key(base)

    def has_launcher(self, engine: ImageEngine, base: ImageInfo, cache: Path) -> bool:
        """Say whether an earlier run left the launcher that is made in `base`. Builds nothing."""
        from sconectl.toolchains.sim.launcher_bundle import find_launcher

        return find_launcher(engine, base, cache) is not None

    def launcher(self, base: ImageInfo, workshop: Workshop) -> Launcher:
        """Return the launcher made in `base`, building it if it is not there. Raises `BuildFailed`."""
        from sconectl.toolchains.sim.launcher_bundle import obtain_launcher

        return obtain_launcher(base, workshop)

    def protect(self, image: NativeImage, protection: Protection, assembly: Assembly) -> ProtectedImage:
        """Protect, measure and sign a native image. Raises `BuildFailed` for what cannot be protected."""
        from sconectl.toolchains.sim.protected_image import protect

        return protect(image, protection, assembly)

    def measure(self, tree: RootTree) -> MeasuredImage:
        """Measure an image by its files, as its launcher will. Raises `PlanImpossible` and `BuildFailed`."""
        from sconectl.toolchains.sim.measured_image import measure_image

        return measure_image(tree)
