"""Many clients at once on one CAS: exactly one of several concurrent updates wins, and the history stays linear."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.builders import facts, mesh_text, record

from .black_box import SCONECTL, Client, OutsideCas

CLIENTS = 8
ROUNDS = 12
APPLIES, SESSIONS, TOGETHER = 2, 12, 4


@pytest.fixture(scope="module")
def cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutsideCas]:
    outside = OutsideCas(tmp_path_factory.mktemp("concurrency"))
    outside.start()
    yield outside
    outside.stop()


def connection(cas: OutsideCas, client: Client) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(cas.chain))
    context.check_hostname = False
    context.load_cert_chain(client.certificate, client.key)
    host, _, port = cas.address.rpartition(":")
    return http.client.HTTPSConnection(host, int(port), timeout=60, context=context)


def text(name: str, value: int, predecessor: str | None) -> bytes:
    secrets = [{"name": "n", "kind": "ascii", "value": str(value)}, {"name": "kept", "kind": "ascii"}]
    document = {"name": name, "version": "0.3.10", "secrets": secrets}
    return json.dumps(document | ({"predecessor": predecessor} if predecessor else {})).encode()


def post(link: http.client.HTTPSConnection, body: bytes) -> tuple[int, dict[str, object]]:
    link.request("POST", "/v1/sessions", body)
    answer = link.getresponse()
    return answer.status, json.loads(answer.read())


def test_one_of_the_concurrent_updates_wins(cas: OutsideCas, tmp_path: Path) -> None:
    client = Client.new(tmp_path, "owner")
    links = [connection(cas, client) for _ in range(CLIENTS)]
    status, answer = post(links[0], text("raced", 0, None))
    assert status == 201
    history = [str(answer["hash"])]
    for number in range(ROUNDS):
        barrier = threading.Barrier(CLIENTS)
        results: list[tuple[int, dict[str, object]]] = []

        def update(index: int, link: http.client.HTTPSConnection) -> None:
            body = text("raced", 1 + number * CLIENTS + index, history[-1])  # noqa: B023  # joined below
            barrier.wait()  # noqa: B023
            results.append(post(link, body))  # noqa: B023

        threads = [threading.Thread(target=update, args=item) for item in enumerate(links)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [answer for status, answer in results if status == 201]
        lost = [(status, answer) for status, answer in results if status != 201]
        assert len(won) == 1
        assert {status for status, _ in lost} == {409}
        assert all("stale predecessor" in str(answer["msg"]) for _, answer in lost)
        history.append(str(won[0]["hash"]))
    for link in links:
        link.close()
    assert walk(cas, client, "raced") == history[::-1]


def walk(cas: OutsideCas, client: Client, name: str) -> list[str]:
    found: list[str] = []
    link = connection(cas, client)
    wanted = ""
    while True:
        link.request("GET", f"/v1/sessions/{name}{wanted}")
        answer = json.loads(link.getresponse().read())
        found.append(answer["hash"])
        match = re.search(r"^predecessor: \"?([0-9a-f]{64})", answer["session"], re.MULTILINE)
        if match is None:
            link.close()
            return found
        wanted = f"?hash={match[1]}"


def test_concurrent_creations_of_one_name(cas: OutsideCas, tmp_path: Path) -> None:
    clients = [Client.new(tmp_path, f"c{number}") for number in range(4)]
    links = [connection(cas, client) for client in clients]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda link=link: statuses.append(post(link, text("wanted", 1, None))[0]))
        for link in links
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for link in links:
        link.close()
    assert sorted(statuses) == [201, 403, 403, 403]


def test_applies_of_the_same_mesh_at_once_are_all_done(cas: OutsideCas, tmp_path: Path) -> None:
    """Whoever comes later finds what it wants, or what was there before: neither is a reason to fail."""
    names = [f"web{number}" for number in range(SESSIONS)]
    (tmp_path / "facts").mkdir()
    for name in names:
        image = facts(name, environment={"global": [{"name": "ROUND"}]})
        (tmp_path / f"facts/{name}.json").write_text(record(image).to_text())
    for number in range(APPLIES):
        values = {"global": {"ROUND": f"round-{number}"}}
        mesh = mesh_text(names, env=values).replace("cas.example.org", cas.address)
        (tmp_path / "mesh.yaml").write_text(mesh)
        running = [
            subprocess.Popen(
                [str(SCONECTL), "apply", "-f", "mesh.yaml", "--facts", "facts", "--release", "r",
                 "-t", f"target-{each}"],
                cwd=tmp_path,
                env=os.environ | cas.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for each in range(TOGETHER)
        ]  # fmt: skip
        said = [each.communicate(timeout=120)[1] for each in running]
        assert [each.returncode for each in running] == [0] * TOGETHER, said
        assert f"round-{number}" in cas.command("session", "read", f"shop/{names[-1]}", "--cas", cas.address).decode()
        charts = [
            {path.relative_to(chart): path.read_bytes() for path in chart.rglob("*") if path.is_file()}
            for chart in (tmp_path / f"target-{each}/helm" for each in range(TOGETHER))
        ]
        assert charts[0]
        assert all(chart == charts[0] for chart in charts), "a chart has marks of a salt that the CAS does not have"
