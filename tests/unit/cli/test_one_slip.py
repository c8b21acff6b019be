"""One name that is misspelt in manifests that are right, wherever it refers to something: one error, at one place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run

# In [[...]] stand the names that refer to something. Names that may stand for something outside (a session that
# volumes come from, a tag of an image) are not among them: there is no way to tell that they are wrong.
WEB = """\
apiVersion: scone/5.8
kind: genservice
build:
  name: web
  kind: python
  to: registry.example.org/web:1
  command: python3 app.py --token $$SCONE::[[web-token]]$$
  pwd: /app
  copy: [app.py]
  volumes:
  - {name: shelf, path: /data, import: {session: db, volume: [[shelf]]}}
environment:
  local:
  - name: GREETING
    value: hello {{[[CUSTOMER_NAME]]}} at {{[[namespace]]}}
  - name: PASSWORD
    value: $$SCONE::[[db-password]]$$
  - name: CAS
    value: "{{[[cas.cas.cas_url]]}}"
  global:
  - name: CUSTOMER_NAME
  - name: APP_SERVICE_PORT
    value: "8080"
injection_files:
- {path: /etc/server.crt, content: $$SCONE::[[server-cert]]:crt$$}
- {path: /etc/server.key, content: $$SCONE::[[server-cert]]:privatekey$$}
- {path: /etc/authority.crt, content: $$SCONE::[[shop-ca]]:crt$$}
- {path: /etc/both, content: "$$SCONE::[[web-token]]$$ and {{[[CUSTOMER_NAME]]}}"}
secrets:
  global:
  - {name: web-token, kind: ascii, size: 20}
  - {name: shop-ca-key, kind: private-key, migrate: true}
  - {name: shop-ca, kind: x509-ca, private_key: [[shop-ca-key]], common_name: shop}
  - {name: server-key, kind: private-key, migrate: true}
  - {name: server-cert, kind: x509, private_key: [[server-key]], issuer: [[shop-ca]], endpoint: server, dns: [web.shop]}
  import:
  - [[db-password]]
"""
DATABASE = """\
apiVersion: scone/5.8
kind: genservice
build:
  name: db
  kind: python
  to: registry.example.org/db:1
  command: python3 db.py
  volumes:
  - {name: shelf, path: /data, export: [{session: [[web]]}]}
environment:
  global:
  - {name: TABLES_OWNER}
  - {name: ROOT_PASSWORD, value: "$$SCONE::[[db-password]]$$"}
injection_files:
- {path: /secrets/password, content: $$SCONE::[[db-password]]$$}
- {path: /secrets/token, content: $$SCONE::[[web-token]]$$}
secrets:
  global:
  - {name: db-password, kind: ascii, size: 20}
  import:
  - [[web-token]]
"""
MESH = """\
apiVersion: scone/5.8
kind: mesh
cas:
- name: cas
  alias:
  - [[image]]
  cas_url: local
policy: {namespace: shop}
env:
- service: [[global]]
  env:
  - {name: [[CUSTOMER_NAME]], value: world}
- service: [[db]]
  env:
  - {name: [[TABLES_OWNER]], value: "{{[[CUSTOMER_NAME]]}}"}
services:
- {name: web, image: "[[registry.example.org/web]]:1"}
- {name: db, image: "[[registry.example.org/db]]:1", image_secrets: [[db.secrets.yaml]]}
helm_extra_values:
  [[web]]:
    [[replicaCount]]: 2
"""
SECRETS = """\
- {name: db-password, kind: ascii, value: "{{[[CUSTOMER_NAME]]}}-and-more-of-it"}
"""
FILES = {"web.yaml": WEB, "db.yaml": DATABASE, "mesh.yaml": MESH, "db.secrets.yaml": SECRETS}
_NAME = re.compile(r"\[\[([^\[\]]+)\]\]")
REFERENCES = [(file, found.start(1), found[1]) for file, text in FILES.items() for found in _NAME.finditer(text)]


def slips(name: str) -> dict[str, str]:
    """Return the name with one slip of the finger, of each sort, in the middle."""
    place = max(len(name) // 2, 1)
    before, at, after = name[:place], name[place : place + 1], name[place + 1 :]
    found = {
        "left out": before + after,
        "twice": before + at + at + after,
        "another": before + ("q" if at != "q" else "p") + after,
        "turned": before[:-1] + at + before[-1:] + after,
    }
    return {sort: slip for sort, slip in found.items() if slip != name}


def plain(text: str) -> str:
    return _NAME.sub(lambda found: found[1], text)


@pytest.fixture
def manifests(project: Path) -> Path:
    for file in ("app.py", "db.py"):
        (project / file).touch()
    for file, text in FILES.items():
        (project / file).write_text(plain(text))
    return project


def findings(run: Run) -> list[dict[str, Any]]:
    outcome = run("validate", "-f", "web.yaml", "-f", "db.yaml", "-f", "mesh.yaml", "--output", "json")
    found = json.loads(outcome.out)["findings"]
    assert isinstance(found, list)
    return found


def errors(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [finding for finding in found if finding["severity"] == "error"]


def test_the_manifests_are_right_as_they_are(manifests: Path, run: Run) -> None:
    assert errors(findings(run)) == []
    assert len(REFERENCES) > 30


@pytest.mark.parametrize(("file", "place", "name"), REFERENCES, ids=[f"{f}-{p}-{n}" for f, p, n in REFERENCES])
def test_one_slip_is_one_error(manifests: Path, run: Run, file: str, place: int, name: str) -> None:
    right = [(finding["code"], finding["message"]) for finding in findings(run)]
    for sort, slip in slips(name).items():
        text = FILES[file]
        (manifests / file).write_text(plain(text[:place] + slip + text[place + len(name) :]))
        found = [finding for finding in findings(run) if (finding["code"], finding["message"]) not in right]
        assert len(errors(found)) == 1, (sort, slip, found)
        assert len(found) == 1, (sort, slip, found)
        [finding] = found
        here = (finding["file"], finding["line"]) == (file, text[:place].count("\n") + 1)
        assert here or {slip, name} & set(re.findall(r"[\w./-]+\w", finding["message"] + " " + finding["hint"])), found


def test_each_of_two_slips_is_an_error(manifests: Path, run: Run) -> None:
    text = (manifests / "web.yaml").read_text()
    text = text.replace("--token $$SCONE::web-token$$", "--token $$SCONE::web-tokn$$")
    (manifests / "web.yaml").write_text(text.replace("$$SCONE::web-token$$ and", "$$SCONE::web-tken$$ and"))
    assert [(finding["file"], finding["line"]) for finding in errors(findings(run))] == [
        ("web.yaml", 7),
        ("web.yaml", 28),
    ]
