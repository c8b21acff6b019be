"""Stands for `kubectl` or `helm`, as it is called: checks what it is given, and keeps what a cluster would.

Only the commands that the steps of applications use are known, with their options; anything else ends with exit code 2.
RECORDS is a directory: `calls.jsonl` there has every call, and a release is `<namespace>/<release>.json` with what the
Helm engine made of its chart. `cluster.json` names the CAS that stands for the one in the cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECORDS = Path(os.environ["RECORDS"])
CAS_API = "cas.scone.cloud"
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
LONGEST_RELEASE = 53


def main(program: str, words: list[str]) -> int:
    """Do what the program would, and return its exit code."""
    with (RECORDS / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([program, *words]) + "\n")
    return {"helm": helm, "kubectl": kubectl}[program](words)


def settings() -> dict[str, str]:
    found: dict[str, str] = json.loads((RECORDS / "cluster.json").read_text())
    return found


def helm(words: list[str]) -> int:
    """`helm version | install | upgrade --install | uninstall`."""
    if words[:1] == ["version"]:
        print("v3.14.0+recorder")
        return 0
    parser = argparse.ArgumentParser("helm", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("install", "upgrade", "uninstall"):
        command = commands.add_parser(name, allow_abbrev=False)
        command.add_argument("release")
        if name != "uninstall":
            command.add_argument("chart", type=Path)
        if name == "upgrade":
            command.add_argument("--install", action="store_true", required=True)
        command.add_argument("-n", "--namespace", required=True)
    given = parser.parse_args(words)
    if not NAMESPACE.match(given.namespace) or not NAMESPACE.match(given.release):
        return refused(f"{given.release} in {given.namespace} cannot be")
    if len(given.release) > LONGEST_RELEASE:
        return refused(f"{given.release} is longer than {LONGEST_RELEASE} characters")
    file = RECORDS / given.namespace / f"{given.release}.json"
    if given.command == "uninstall":
        if not file.exists():
            return refused(f"uninstall: Release not loaded: {given.release}: release: not found")
        file.unlink()
        return 0
    if given.command == "install" and file.exists():
        return refused("cannot re-use a name that is still in use")
    objects = list(rendered(given.chart, given.release, given.namespace))
    wrong = list(faults(objects, given.namespace))
    if wrong:
        return refused("\n".join(wrong))
    policies = [each for each in objects if each["apiVersion"].startswith(CAS_API)]
    if policies and (said := to_the_cas(policies, given.namespace)):
        return refused(said)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(objects))
    print(f"NAME: {given.release}\nNAMESPACE: {given.namespace}\nSTATUS: deployed")
    return 0


def rendered(chart: Path, release: str, namespace: str) -> Iterator[dict[str, Any]]:
    """Yield the objects that the Helm engine makes of a chart, which it must find without a fault."""
    import helm_python
    from ruamel.yaml import YAML

    with helm_python.Chart.load(str(chart)) as loaded:
        files = loaded.render({}, name=release, namespace=namespace)
    for path, text in files.items():
        if path.endswith(".yaml"):
            yield from (found for found in YAML(typ="safe").load_all(text) if found)


def faults(objects: list[dict[str, Any]], namespace: str) -> Iterator[str]:
    """Yield what an API server would refuse."""
    import kubernetes_validate

    seen: set[tuple[str, str]] = set()
    for each in objects:
        kind, meta = each["kind"], each["metadata"]
        if (kind, meta["name"]) in seen:
            yield f"{kind} {meta['name']} is there twice"
        seen.add((kind, meta["name"]))
        if meta.get("namespace", namespace) != namespace:
            yield f"{kind} {meta['name']} is for another namespace"
        if not each["apiVersion"].startswith(CAS_API):
            try:
                kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{kind} {meta['name']}: {error.message}"


def to_the_cas(policies: list[dict[str, Any]], namespace: str) -> str:
    """Bring the sessions of a chart into the CAS as the operator of the cluster does; return what went wrong."""
    from fakes.kubernetes import TOKEN, running_cluster

    known = settings()
    home = Path(known["home"])
    token = home / "token"
    token.write_text(TOKEN)
    with running_cluster() as cluster:
        for each in policies:
            cluster.put(each, namespace)
        words = [known["sconectl"], "cas", "operator", "--once", "--api", cluster.address, "--token-file", str(token)]
        words += ["--cas", known["address"], "--name", known["cas"], "--cas-config", str(home / ".cas")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        states = {each["metadata"]["name"]: cluster.status(each["metadata"]["name"]) for each in policies}
    failed = [f"{name}: {state}" for name, state in states.items() if state.get("reason") != "Active"]
    return "\n".join([*failed, done.stderr]) if failed or done.returncode else ""


def kubectl(words: list[str]) -> int:
    """`kubectl version | get | provision cas`."""
    if words == ["version", "--client"]:
        print("Client Version: v1.30.0")
        return 0
    parser = argparse.ArgumentParser("kubectl", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    get = commands.add_parser("get", allow_abbrev=False)
    get.add_argument("kind", choices=("pods", "las", "sgxplugin", "cas"))
    get.add_argument("name", nargs="?")
    get.add_argument("-l", dest="labels", default="")
    get.add_argument("-o", dest="output", default="")
    provision = commands.add_parser("provision", allow_abbrev=False)
    provision.add_argument("kind", choices=("cas",))
    provision.add_argument("name")
    wanted = provision.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--is-provisioned", action="store_true")
    wanted.add_argument("--print-public-keys", action="store_true")
    for command in (get, provision):
        command.add_argument("-n", "--namespace", default="default")
    given = parser.parse_args(words)
    if not NAMESPACE.match(given.namespace):
        return refused(f"{given.namespace} is no namespace")
    if given.kind == "pods":
        labels = dict(pair.split("=", 1) for pair in given.labels.split(",") if pair)
        print(*("Running" if given.output else name for name in pods(given.namespace, labels)))
        return 0
    known = settings()
    if given.kind == "cas" and f"{given.name}.{given.namespace}" != known["cas"]:
        return refused(f'cas "{given.name}" not found in {given.namespace}')
    if given.command == "get":
        print("HEALTHY")
    elif given.print_public_keys:
        config = str(Path(known["home"]) / ".cas")
        shown = [known["sconectl"], "cas", "show-identification", "--shell", known["address"], "--cas-config", config]
        return subprocess.run(shown, check=False).returncode
    return 0


def pods(namespace: str, labels: dict[str, str]) -> list[str]:
    """Return the pods that the workloads of the namespace would have, by labels."""
    found = []
    for file in sorted((RECORDS / namespace).glob("*.json")):
        for each in json.loads(file.read_text()):
            template = each.get("spec", {}).get("template", {}) if each["kind"] != "Pod" else {}
            own = template.get("metadata", {}).get("labels", {})
            if template and labels.items() <= own.items():
                ordinal = "0" if each["kind"] == "StatefulSet" else "5f6c7d8e9-abcde"
                found.append(f"{each['metadata']['name']}-{ordinal}")
    return found


def refused(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
