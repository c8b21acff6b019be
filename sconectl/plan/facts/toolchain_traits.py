"""What plans, policies and charts have to know about the toolchain of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sconectl.policy.forms.tolerations import SIMULATION


@dataclass(frozen=True)
class ToolchainTraits:
    """How a toolchain is called, and what images that it protected need and cannot do.

    `mode` is the attestation mode in sessions: a simulation is never called hardware, because who reads the session
    decides on it, and a CAS that is no simulation has to refuse it. With `sgx`, pods need the device of Intel SGX;
    without `volumes`, images cannot protect volumes.
    """

    name: str
    mode: str
    sgx: bool
    volumes: bool

    @property
    def simulated(self) -> bool:
        """Whether no hardware protects the running program."""
        return self.mode == SIMULATION


@dataclass(frozen=True)
class Toolchains:
    """The toolchain that is `chosen` for the images of a run, and those whose images are `known`, by name."""

    chosen: ToolchainTraits
    known: Mapping[str, ToolchainTraits]
