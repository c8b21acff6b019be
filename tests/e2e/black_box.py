"""A CAS from outside: the installed command starts it; from then on only curl, openssl and their files speak to it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCONECTL = Path(sys.executable).with_name("sconectl")


def run(command: Sequence[object], *, stdin: bytes | None = None, code: int | None = 0, **env: str) -> bytes:
    """Run a command and return its stdout; `code` is the expected exit code, None for any."""
    done = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        env=os.environ | env,
        timeout=120,
        check=False,
    )
    if code is not None:
        assert done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Client:
    """A key with a self-signed certificate, made by openssl."""

    certificate: Path
    key: Path

    @classmethod
    def new(cls, folder: Path, name: str, *, rsa: bool = False) -> Client:
        client = cls(folder / f"{name}.crt", folder / f"{name}.key")
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        made = ["-keyout", str(client.key), "-out", str(client.certificate)]
        run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "30", "-subj", f"/CN={name}", *made])
        return client


def channel_hash(client: Client) -> str:
    """Return what binds a report to connections with this certificate: the SHA-512 of it."""
    der = run(["openssl", "x509", "-in", client.certificate, "-outform", "DER"])
    return hashlib.sha512(der).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What curl got."""

    status: int
    content_type: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self) -> list[str]:
        found = self.json()["msg"]
        assert isinstance(found, list)
        assert found
        assert all(isinstance(cause, str) for cause in found)
        return found


class OutsideCas:
    """A served CAS, as curl sees it."""

    def __init__(self, folder: Path, name: str = "cas") -> None:
        self.directory = folder / name
        self.home = folder / f"{name}-home"
        self.home.mkdir()
        self.env = {"HOME": str(self.home), "XDG_DATA_HOME": "", "XDG_STATE_HOME": "", "NO_COLOR": "1"}
        self.address = ""
        self.chain = folder / f"{name}-chain.pem"

    def command(self, *arguments: str | Path, code: int | None = 0, stdin: bytes | None = None) -> bytes:
        return run([SCONECTL, *arguments], code=code, stdin=stdin, **self.env)

    def start(self, listen: str = "127.0.0.1:0", *more: str) -> None:
        arguments: tuple[str | Path, ...] = (
            "cas",
            "serve",
            "--detach",
            "--dir",
            self.directory,
            "--listen",
            listen,
            *more,
        )
        self.address = self.command(*arguments).decode().strip()
        self.chain.write_bytes(self.command("cas", "show-certificate", "--dir", self.directory))

    def stop(self) -> None:
        self.command("cas", "stop", "--dir", self.directory)

    def curl(
        self,
        path: str,
        *,
        client: Client | None = None,
        body: str | bytes | None = None,
        method: str = "",
        options: Sequence[str] = (),
    ) -> Answer:
        """Send one request as the documentation of upstream does: to the name `cas`, trusting its chain only."""
        command: list[str | Path] = [
            "curl",
            "-sS",
            "--path-as-is",
            "--cacert",
            self.chain,
            "-w",
            "\n%{http_code} %{content_type}",
        ]
        command += ["--connect-to", f"cas:8081:{self.address}", *options]
        if client is not None:
            command += ["--cert", client.certificate, "--key", client.key]
        if method:
            command += ["-X", method]
        stdin = body.encode() if isinstance(body, str) else body
        if stdin is not None:
            command += ["--data-binary", "@-"]
        output = run([*command, f"https://cas:8081{path}"], stdin=stdin)
        content, _, trailer = output.rpartition(b"\n")
        status, _, content_type = trailer.decode().partition(" ")
        return Answer(int(status), content_type, content)

    def upload(self, client: Client, text: str) -> str:
        answer = self.curl("/v1/sessions", client=client, body=text)
        assert answer.status == 201, answer
        found = answer.json()["hash"]
        assert isinstance(found, str)
        return found
