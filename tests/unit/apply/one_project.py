"""One project on one machine, applied again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes.builders import service_plan, service_text
from fakes.engine import FakeEngine, FakeRegistry
from fakes.stores import MemorySessionStore
from fakes.workspace import FakeKeys

from sconectl.adapters.workspace_disk import DiskWorkspace
from sconectl.apply.native import NativeSources
from sconectl.apply.sources.requirements import Requirements
from sconectl.image.build.native_build import BuildEnvironment, CopiedFile
from sconectl.plan.facts.image_facts import BuildRecord
from sconectl.plan.service.service import ServicePlan
from sconectl.ports import SessionStore
from sconectl.toolchains.sim.toolchain import SimToolchain
from sconectl.usecases.apply_service import ServiceResult, ServiceWorld, apply_service

IMAGE = "registry.example.org/web:1"
SECRETS: dict[str, Any] = {
    "environment": {
        "local": [{"name": "A", "value": "hunter-local"}],
        "global": [{"name": "G", "value": "hunter-default"}],
    },
    "secrets": {"global": [{"name": "s", "kind": "ascii", "value": "hunter-secret"}]},
    "injection_files": [{"path": "/etc/x", "content": "hunter-file"}],
    "command": "python3 main.py hunter-argument",
}


class Bench:
    """One project on one machine."""

    def __init__(self, engine: FakeEngine, store: MemorySessionStore, workspace: DiskWorkspace, root: Path) -> None:
        self.engine, self.store, self.workspace = engine, store, workspace
        self.root = root
        self.main = root / "main.py"
        self.main.write_text("print(1)")
        self.said: list[str] = []
        self.remarks: list[str] = []
        self.machine = "a"
        self.epoch: int | None = None

    def apply(
        self,
        plan: ServicePlan | None = None,
        *,
        push: bool = True,
        store: bool = True,
        requirements: Requirements | None = None,
    ) -> ServiceResult:
        given = plan or service_plan(service_text(**SECRETS))
        sources = NativeSources([CopiedFile("/app/main.py", 0o644, self.main)], requirements)
        used: SessionStore | None = self.store if store else None
        world = ServiceWorld(
            toolchain=SimToolchain(),
            engine=self.engine,
            registry=lambda: FakeRegistry(self.engine.remote),
            keys=FakeKeys(self.machine),
            workspace=self.workspace,
            store=used,
            environment=BuildEnvironment(),
            launcher_base="base:1",
            cache=self.root / "cache",
            push=push,
            progress=self.said.append,
            remark=self.remarks.append,
            detail=lambda _text: None,
            epoch=self.epoch,
        )
        return apply_service(given, sources, world)

    def record(self) -> BuildRecord:
        text = self.workspace.read("images/web.json")
        assert text is not None
        return BuildRecord.read(text)

    def quiet(self) -> None:
        self.engine.calls.clear()
        self.store.put_log.clear()
