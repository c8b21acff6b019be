"""Classes of paths: the longest rule decides, and what cannot be meant is named at its place in the manifest."""

from __future__ import annotations

import posixpath
from typing import Any

import pytest
from fakes.builders import service_plan, service_text

from sconectl.manifest.model.genservice import GenService
from sconectl.manifest.reading.reader import read_manifest
from sconectl.plan.service.protection import overlaps, rule_for, rules
from sconectl.runtime.files import ORIGINALS
from sconectl.text.findings import Finding


def injected(path: str) -> dict[str, str]:
    return {"path": path, "content": "hunter2"}


def at(path: str) -> dict[str, str]:
    return {"name": "v", "path": path}


V, V2 = at("/v"), at("/v/data")
FILE = injected("/etc/app.conf")


def found(**changes: Any) -> list[Finding]:
    manifest = read_manifest(service_text(**changes), "service.yaml", {})
    assert isinstance(manifest.model, GenService)
    findings = overlaps(manifest.model, manifest.document)
    assert all(finding.code == "SC1004" and finding.position.line > 1 for finding in findings)
    assert "hunter2" not in repr(findings)
    return findings


def said(severity: str = "error", **changes: Any) -> dict[str, str]:
    return {finding.path: finding.message for finding in found(**changes) if finding.severity == severity}


def test_confidential_images_keep_directories_where_no_volume_can_be() -> None:
    assert said(volumes=[at(f"{ORIGINALS}/x")]) and said(volumes=[at(posixpath.dirname(ORIGINALS))])


def test_volumes_have_a_class_of_their_own() -> None:
    known = rules(service_plan(service_text(volumes=[at("/v")])).model, ["/v", "/v/below", "/var/lib/db"])
    assert (rule_for(known, "/v/below/x").protection, rule_for(known, "/v").why) == ("volume", "build.volumes")
    assert rule_for(known, "/var/lib/db/x").why == "image volume"


def test_the_longest_rule_decides() -> None:
    plan = service_plan(
        service_text(
            dirs=["/app/data"],
            plains=["/var/cache"],
            plain_files=["/etc/motd"],
            host_paths=["/data"],
            fs_dirs=["/var/cache2", "/"],
            fs_files=["/etc/passwd"],
            injection_files=[FILE, injected("/app/data/key")],
        )
    )
    known = rules(plan.model, ["/var/lib/db"])
    assert list(known) == sorted(known)
    classes = {
        path: rule_for(known, path).protection
        for path in (
            *("/", "/usr/bin/python3", "/app", "/app/data", "/app/data/x/y", "/app/database", "/app/data/key"),
            *("/var/cache/x", "/var/cache2/x", "/etc/motd", "/etc/motd2", "/data/x", "/etc/passwd", "/etc/app.conf"),
            *("/tmp/x", "/var/lib/db/x", "/scone/bin/python3", "/scone"),
        )
    }
    assert classes == {
        "/": "binary-fs",
        "/usr/bin/python3": "binary-fs",
        "/app": "binary-fs",
        "/app/data": "encrypted",
        "/app/data/x/y": "encrypted",
        "/app/database": "binary-fs",
        "/app/data/key": "injected",
        "/var/cache/x": "plain",
        "/var/cache2/x": "binary-fs",
        "/etc/motd": "plain",
        "/etc/motd2": "binary-fs",
        "/data/x": "host path",
        "/etc/passwd": "binary-fs",
        "/etc/app.conf": "injected",
        "/tmp/x": "runtime-provided",
        "/var/lib/db/x": "runtime-provided",
        "/scone/bin/python3": "launcher",
        "/scone": "launcher",
    }
    assert rule_for(known, "/data/x").why == "build.host_paths"
    assert rule_for(known, "/").why == "build.fs_dirs"
    assert rule_for(known, "/var/lib/db/x").why == "image volume"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fs_dirs": ["/"], "dirs": ["/app/data"], "host_paths": ["/tmp", "/etc/hosts", "/etc/resolv.conf"]},
        {"fs_dirs": ["/app"], "dirs": ["/app/data"], "plains": ["/app/cache"], "injection_files": [FILE]},
        {"plains": ["/data"], "plain_files": ["/data/x", "/data/x"], "host_paths": ["/data/y", "/dev/isgx"]},
        {"dirs": ["/data", "/data2", "/data", "/other"], "injection_files": [injected("/data/key")]},
        {"fs_dirs": ["/app"], "volumes": [at("/app/data"), {"name": "w", "path": "/app/data2"}], "dirs": ["/d"]},
        {"injection_files": [injected("/etc/hosts"), injected("/etc/resolv.conf")]},
        {"copy": ["main.py"], "binaries": ["/usr/bin/python3", "python3"], "command": "/usr/bin/python3 main.py"},
    ],
)
def test_paths_that_fit_together(changes: dict[str, Any]) -> None:
    assert found(**changes) == []


@pytest.mark.parametrize(
    ("changes", "path", "part"),
    [
        ({"dirs": ["/"]}, "build.dirs[0]", "the root directory cannot be encrypted"),
        ({"plains": ["/"]}, "build.plains[0]", "the root directory cannot be left unprotected"),
        ({"host_paths": ["/"]}, "build.host_paths[0]", "the root directory"),
        ({"fs_files": ["/"]}, "build.fs_files[0]", "the root directory"),
        ({"injection_files": [injected("/")]}, "injection_files[0].path", "the root directory"),
        ({"dirs": ["/scone/x"]}, "build.dirs[0]", "belongs to the launcher"),
        ({"host_paths": ["/scone"]}, "build.host_paths[0]", "belongs to the launcher"),
        ({"fs_dirs": ["/scone"]}, "build.fs_dirs[0]", "belongs to the launcher"),
        ({"injection_files": [injected("/proc/x")]}, "injection_files[0].path", "given its own /proc"),
        ({"dirs": ["/dev/x"]}, "build.dirs[0]", "given its own /dev"),
        ({"dirs": ["/tmp/x"]}, "build.dirs[0]", "given its own /tmp"),
        ({"dirs": ["/etc"]}, "build.dirs[0]", "given its own /etc/hostname"),
        ({"dirs": ["/var"]}, "build.dirs[0]", "given its own /var/run"),
        ({"fs_files": ["/etc/hosts"]}, "build.fs_files[0]", "given its own /etc/hosts"),
        ({"fs_dirs": ["/sys"]}, "build.fs_dirs[0]", "given its own /sys"),
        ({"dirs": ["/data/x"], "plains": ["/data"]}, "build.dirs[0]", "lies in /data (build.plains)"),
        ({"dirs": ["/data/x"], "host_paths": ["/data"]}, "build.dirs[0]", "lies in /data (build.host_paths)"),
        ({"dirs": ["/data"], "plains": ["/data/x"]}, "build.plains[0]", "lies in the encrypted directory /data"),
        ({"dirs": ["/data"], "host_paths": ["/data/x"]}, "build.host_paths[0]", "lies in the encrypted directory"),
        ({"dirs": ["/data"], "fs_files": ["/data/x"]}, "build.fs_files[0]", "lies in the encrypted directory"),
        ({"dirs": ["/data", "/data/x"]}, "build.dirs[1]", "lies in the encrypted directory /data"),
        ({"dirs": ["/data/x", "/data"]}, "build.dirs[0]", "lies in the encrypted directory /data"),
        ({"dirs": ["/data"], "plains": ["/data"]}, "build.plains[0]", "is also named in build.dirs"),
        ({"plains": ["/data"], "host_paths": ["/data"]}, "build.host_paths[0]", "is also named in build.plains"),
        ({"fs_dirs": ["/data"], "plains": ["/data"]}, "build.fs_dirs[0]", "is also named in build.plains"),
        ({"fs_dirs": ["/data/x"], "plains": ["/data"]}, "build.fs_dirs[0]", "lies in /data (build.plains)"),
        ({"fs_files": ["/etc/app.conf"], "injection_files": [FILE]}, "injection_files[0].path", "also named in"),
        ({"host_paths": ["/etc/hosts"], "injection_files": [injected("/etc/hosts")]}, "injection_files[0].path", "is"),
        ({"plains": ["/etc/app.conf/x"], "injection_files": [FILE]}, "build.plains[0]", "below the injected file"),
        ({"dirs": ["/v/x"], "volumes": [V]}, "build.dirs[0]", "lies in the volume /v"),
        ({"plains": ["/v/x"], "volumes": [V]}, "build.plains[0]", "lies in the volume /v"),
        ({"host_paths": ["/v/x"], "volumes": [V]}, "build.host_paths[0]", "lies in the volume /v"),
        ({"fs_dirs": ["/v/x"], "volumes": [V]}, "build.fs_dirs[0]", "lies in the volume /v"),
        ({"injection_files": [injected("/v/x")], "volumes": [V]}, "injection_files[0].path", "lies in the volume /v"),
        ({"volumes": [V, {"name": "w", "path": "/v/x"}]}, "build.volumes[1].path", "lies in the volume /v"),
        ({"volumes": [{"name": "w", "path": "/v/x"}, V]}, "build.volumes[0].path", "lies in the volume /v"),
        ({"volumes": [V, {"name": "w", "path": "/v"}]}, "build.volumes[1].path", "is also named in build.volumes"),
        ({"dirs": ["/v"], "volumes": [V2]}, "build.volumes[0].path", "lies in the encrypted directory /v"),
        ({"plains": ["/v"], "volumes": [V2]}, "build.volumes[0].path", "lies in /v (build.plains)"),
        ({"host_paths": ["/v"], "volumes": [V2]}, "build.volumes[0].path", "lies in /v (build.host_paths)"),
        ({"injection_files": [injected("/v")], "volumes": [V2]}, "build.volumes[0].path", "below the injected file /v"),
        ({"volumes": [at("/")]}, "build.volumes[0].path", "the root directory cannot be a volume"),
        ({"volumes": [at("/tmp/v")]}, "build.volumes[0].path", "a container is given its own /tmp"),
        ({"volumes": [at("/proc")]}, "build.volumes[0].path", "a container is given its own /proc"),
        ({"volumes": [at("/etc")]}, "build.volumes[0].path", "a container is given its own /etc/hostname"),
        ({"volumes": [at("/usr/lib")]}, "build.volumes[0].path", "images keep something in /usr/lib/scone/originals"),
        ({"volumes": [at("/usr/lib/scone/originals/x")]}, "build.volumes[0].path", "images keep something in"),
        ({"volumes": [V], "command": "/v/main"}, "build.command", "build.volumes has /v"),
        ({"dirs": ["/v"], "volumes": [{"name": "v", "path": "/v/"}]}, "build.volumes[0].path", "also named in"),
        ({"volumes": [{"name": "v", "path": "/scone/v"}]}, "build.volumes[0].path", "belongs to the launcher"),
        ({"host_paths": ["/app"], "command": "./main"}, "build.command", "build.host_paths has /app"),
        ({"plains": ["/opt"], "command": "/opt/bin/x -v"}, "build.command", "will not be started"),
        ({"plains": ["/opt"], "binaries": ["/opt/bin/x"]}, "build.binaries[0]", "will not be started"),
        ({"command": "/tmp/x"}, "build.command", "a container is given its own /tmp"),
    ],
)  # fmt: skip
def test_conflicts_are_errors(changes: dict[str, Any], path: str, part: str) -> None:
    findings = said(**changes)
    assert list(findings) == [path]
    assert part in findings[path]


@pytest.mark.parametrize(
    ("changes", "path", "part"),
    [
        ({"plains": ["/dev/x"]}, "build.plains[0]", "has no effect"),
        ({"injection_files": [injected("/tmp/x")]}, "injection_files[0].path", "/tmp is not protected"),
        ({"plains": ["/d"], "injection_files": [injected("/d/x")]}, "injection_files[0].path", "lies in /d "),
        ({"host_paths": ["/app"], "copy": ["main.py"]}, "build.copy[0]", "build.host_paths has /app"),
        ({"pwd": "/tmp/app", "copy": ["main.py"]}, "build.copy[0]", "a container is given its own /tmp"),
    ],
)  # fmt: skip
def test_what_is_weaker_than_it_looks_is_a_warning(changes: dict[str, Any], path: str, part: str) -> None:
    assert said(**changes) == {}
    findings = said("warning", **changes)
    assert list(findings) == [path]
    assert part in findings[path]
