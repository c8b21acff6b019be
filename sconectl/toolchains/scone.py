"""What is known about images of the toolchain `scone`: meshes take them, and this version cannot make them."""

from __future__ import annotations

from sconectl.plan.facts.toolchain_traits import ToolchainTraits
from sconectl.policy.forms.tolerations import HARDWARE

TRAITS = ToolchainTraits("scone", HARDWARE, sgx=True, volumes=True)
