"""How fast a mesh compiles: `python bench/compile.py [--quick]`.

In: nothing; meshes of 1,000 and 10,000 services and the facts of their images are made here, in memory (/dev/shm).
Out: time of `sconectl apply --dry-run --facts` as a whole process, over that of a process in which the Helm engine
loads and renders the chart that it wrote; processor time of `plan --dry-run` over that of `apply --dry-run`; time and
peak memory for ten times as many services. What is compared takes turns; a ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELM_GOAL, PLAN_GOAL, GROWTH_GOAL, MEMORY_GOAL = 1.0, 1.3, 14, 600
SCONECTL = Path(sys.executable).with_name("sconectl")
HELM = """
import sys
import helm_python as helm
with helm.Chart.load(sys.argv[1]) as chart:
    rendered = chart.render(name="bench", namespace="default")
assert len(rendered) >= int(sys.argv[2]), len(rendered)
"""
HEAD = """\
apiVersion: scone/5.8
kind: mesh
cas:
  - name: cas
    alias: [image, security, access, attestation]
    cas_url: cas.example.org:8081
policy:
  namespace: bench/compile
  tolerate: outdated-tcb
env:
  - service: global
    env:
      - {name: REGION, value: north}
      - {name: DOMAIN, value: north.example.org}
"""
SECTION = """\
  - service: NAME
    env:
      - name: LOG_LEVEL
        value: info
      - name: WORKERS
        value: 0{number}
      - name: GREETING
        value: "hello from {{{{session}}}}"
      - name: APP_SERVICE_PORT
        value: 8080
      - name: imagePullSecrets
        value: regcred
"""
SERVICE = """\
  - name: NAME
    image: registry.example.org/team/NAME:1.2.3
"""


def facts_text() -> str:
    """Return target/images/NAME.json of a service NAME that takes a secret from the service NEXT."""
    environment = {
        "image": _variables(PATH="/usr/local/bin:/usr/bin:/bin", LANG="C.UTF-8"),
        "local": _variables(PASSWORD="$$SCONE::NAME-password:hex$$", PEER="NEXT.{{DOMAIN}}", MODE="0760"),
        "global": _variables(LOG_LEVEL="warning", WORKERS=None, GREETING=None, REGION=None, DOMAIN=None),
    }
    facts = {
        "format": 2,
        "toolchain": "sim",
        "name": "NAME",
        "image": "registry.example.org/team/NAME:1.2.3",
        "measurement": "ab" * 32,
        "parameters": {"mode": "production"},
        "command": "python3 /app/main.py --name {{chartname}}",
        "pwd": "/app",
        "environment": environment,
        "injection_files": [{"path": "/etc/app/peer.conf", "content": "peer={{DOMAIN}}\nkey=$$SCONE::NEXT-token$$\n"}],
        "secrets": {
            "global": [
                {"name": "NAME-password", "kind": "binary", "size": 16},
                {"name": "NAME-token", "kind": "ascii", "value": "!!!!!!!!!!!!!!!!"},
            ],
            "import": ["NEXT-token"],
        },
        "protected": {"root": "cd" * 32, "encrypted": ["/app"], "outside": []},
        "fspf": {"path": "/scone/image/fs.fspf", "tag": "0e" * 16},
        "image_session": "image~registry.example.org~team~NAME~~1.2.3",
        "salt": "5a" * 32,
    }
    return json.dumps({"image_id": "sha256:" + "1f" * 32, "inputs": "inputs", "pushed": "", "facts": facts})


def _variables(**values: str | None) -> list[dict[str, str | None]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def make_mesh(folder: Path, services: int) -> None:
    """Write mesh.yaml and facts/ for this many services."""
    names = [f"service-{number:05}" for number in range(services)]
    sections = (SECTION.format(number=n).replace("NAME", name) for n, name in enumerate(names))
    entries = (SERVICE.replace("NAME", name) for name in names)
    (folder / "facts").mkdir(parents=True)
    (folder / "mesh.yaml").write_text(HEAD + "".join(sections) + "services:\n" + "".join(entries))
    record = facts_text()
    for name, following in zip(names, [*names[1:], names[0]], strict=True):
        (folder / f"facts/{name}.json").write_text(record.replace("NAME", name).replace("NEXT", following))


def measured(*command: str | Path) -> tuple[float, float, float]:
    """Return the seconds that a process took, its processor time, and its peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{said}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compiled(folder: Path) -> tuple[float, float, float]:
    """Compile the mesh in `folder` into a target that does not exist yet."""
    target = folder / "target"
    shutil.rmtree(target, ignore_errors=True)
    words = ("apply", "-f", folder / "mesh.yaml", "--facts", folder / "facts", "-t", target)
    return measured(SCONECTL, *words, "--dry-run", "--max-size", str(64 << 20))


def planned(folder: Path) -> tuple[float, float, float]:
    """Plan the mesh in `folder` for the target that `compiled` wrote; like that, it asks no CAS."""
    words = ("plan", "-f", folder / "mesh.yaml", "--facts", folder / "facts", "-t", folder / "target")
    return measured(SCONECTL, *words, "--dry-run", "--max-size", str(64 << 20))


def verdict(name: str, value: float, goal: float, more: str = "") -> bool:
    print(f"{name}: {value:.2f} (goal {goal}: {'met' if value <= goal else 'MISSED'}{more})", flush=True)
    return value <= goal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five rounds of 1,000 services, one of 10,000")
    quick = parser.parse_args().quick
    shared = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="sconectl-bench-", dir=shared if shared.is_dir() else None))
    try:
        small, large = root / "small", root / "large"
        make_mesh(small, 1_000)
        make_mesh(large, 10_000)
        compiled(small)
        helm = (sys.executable, "-I", "-c", HELM, small / "target/helm", "1000")
        rounds = [(compiled(small), measured(*helm)) for _ in range(5 if quick else 11)]
        ratios = [statistics.median(ours[n] / other[n] for ours, other in rounds) for n in (0, 1)]
        times = [statistics.median(column) for column in zip(*((o[0], h[0]) for o, h in rounds), strict=True)]
        more = f"; {1000 * times[0]:.0f} ms, Helm {1000 * times[1]:.0f} ms; ratio of processor time {ratios[1]:.2f}"
        met = [verdict("1,000 services, over Helm loading and rendering the chart", ratios[0], HELM_GOAL, more)]
        plans = [(planned(small)[1], compiled(small)[1]) for _ in range(5 if quick else 11)]
        more = "; processor time, no CAS is asked"
        ratio = statistics.median(plan / ours for plan, ours in plans)
        met.append(verdict("plan of 1,000 services, over apply --dry-run", ratio, PLAN_GOAL, more))
        pairs = [(compiled(small), compiled(large)) for _ in range(1 if quick else 5)]
        growth = statistics.median(b[0] / a[0] for a, b in pairs)
        met.append(verdict("10,000 services, over 1,000", growth, GROWTH_GOAL))
        met.append(verdict("peak memory of 10,000 services, MB", max(b[2] for _, b in pairs), MEMORY_GOAL))
    finally:
        shutil.rmtree(root)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
