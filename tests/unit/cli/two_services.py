"""A mesh of two services on the embedded CAS, one of which imports a secret of the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakes.builders import facts, mesh_text, record

from sconectl.cas.attest.quotes import report_data_for
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.disk.directory_lock import writer
from sconectl.cas.local import LocalCas
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.policy.reading import parse_session
from sconectl.policy.retired import is_retired

from .conftest import Outcome, Run

PASSWORD: dict[str, Any] = {"name": "password", "kind": "ascii", "size": 10}
KEYS: list[dict[str, Any]] = [
    PASSWORD,
    {"name": "ca-key", "kind": "private-key"},
    {"name": "ca", "kind": "x509-ca", "private_key": "ca-key", "export_public": True},
]
SEEN = {"local": [{"name": "SECRET", "value": "$$SCONE::password$$"}]}
ONE, TWO, OTHER = "01" * 32, "02" * 32, "0d" * 32


class Shop:
    """A mesh whose service `web` makes secrets that `db` imports; each service has its own measurement."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.run = folder, run
        (folder / "facts").mkdir()
        self.cas_directory = folder.parent / "data/sconectl/cas"
        self.store = LocalCas(self.cas_directory, CasConfig(folder.parent / "home/.cas"))

    def write(
        self,
        services: Sequence[str] = ("web", "db"),
        *,
        image: str = "web",
        secrets: Sequence[dict[str, Any]] = KEYS,
        imports: bool = True,
        measurement: str = ONE,
        renamed_from: str = "",
        file: str = "mesh.yaml",
    ) -> None:
        """Write a mesh of these services; all but db are made from `image`."""
        web = facts(image, secrets={"global": list(secrets)}, environment=SEEN)
        used = SEEN if imports and len(services) > 1 else {}
        db = facts("db", secrets={"import": ["password"] if used else []}, environment=used)
        for found, measured in ((web, measurement), (db, OTHER)):
            found = found.model_copy(update={"measurement": measured})
            Path(f"facts/{found.name}.json").write_text(record(found).to_text())
        text = mesh_text(services).replace("cas.example.org", "local")
        for service in services:
            if service != "db":
                text = text.replace(f"registry.example.org/{service}:1", f"registry.example.org/{image}:1")
        if renamed_from:
            text = text.replace(
                f"- name: {services[0]}\n", f"- name: {services[0]}\n    renamed_from: {renamed_from}\n"
            )
        Path(file).write_text(text)

    def apply(self, *words: str, code: int = 0, file: str = "mesh.yaml") -> Outcome:
        done = self.run("apply", "-f", file, "--facts", "facts", *words)
        assert done.code == code, done.err
        return done

    def plan(self, *words: str, code: int = 0) -> Outcome:
        done = self.run("plan", "-f", "mesh.yaml", "--facts", "facts", *words)
        assert done.code == code, done.err
        return done

    def orphans(self, *words: str) -> dict[str, Any]:
        return {each["name"]: each for each in json.loads(self.plan("--output", "json", *words).out)["orphans"]}

    def state(self, name: str) -> str:
        stored = self.store.read(name)
        assert stored is not None
        return "retired" if is_retired(parse_session(stored.text)) else "active"

    def start(self, config_id: str, measurement: str) -> dict[str, Any]:
        with self.cas() as cas:
            report = {"toolchain": "sim", "measurement": measurement, "debug": False}
            quote = cas.enclaves.quote({**report, "report_data": report_data_for(b"pod")})["quote"]
            found: dict[str, Any] = cas.enclaves.attest(config_id, quote, b"pod")["config"]
            return found

    @contextmanager
    def cas(self) -> Iterator[EmbeddedCas]:
        with writer(self.cas_directory, 5.0):
            cas = EmbeddedCas(self.cas_directory)
            try:
                yield cas
            finally:
                cas.close()

    def locked(self, file: str = "sconectl.lock") -> list[str]:
        return sorted(json.loads(Path(file).read_text())["meshes"]["shop"]["sessions"])
