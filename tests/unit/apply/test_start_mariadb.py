"""The script that starts MariaDB, with a server and a client that only note what they are asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sconectl import assets

PASSWORD = "it's \\ a"
SERVER = """#!/bin/bash
case $* in *--datadir=*) trap 'exit 0' TERM; while :; do sleep 0.02; done ;; esac
"""
CLIENT = """#!/bin/bash
case $* in *--execute*) exit ;; esac
readlink /proc/$$/fd/0 >>$LOG.from
cat >>$LOG
"""


def test_statements_with_secrets_are_in_no_file(tmp_path: Path) -> None:
    """A shell keeps what it gives to a program as <<< in a file of /tmp, if it is more than a pipe holds."""
    script = assets.read("curated/mariadb/start-mariadb").decode()
    for place in ("/var/lib/mysql", "/etc/mysql/tls", "/usr/share/new-database"):
        (tmp_path / place[1:]).mkdir(parents=True)
        script = script.replace(place, str(tmp_path / place[1:]))
    for name, text in (("mariadbd", SERVER), ("mariadb", CLIENT), ("sync", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    statements = f"SELECT '{PASSWORD}';\n" + f"-- {'x' * 70_000}\n" * 2
    (tmp_path / "etc/mysql/tls/root-password").write_text(PASSWORD)
    (tmp_path / "etc/mysql/tls/init.sql").write_text(statements)
    log = tmp_path / "log"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log), "TMPDIR": str(tmp_path)}
    subprocess.run(["bash", "-c", script], env=environment, check=True, timeout=30)
    asked = log.read_text()
    assert asked.startswith(r"ALTER USER 'root'@'localhost' IDENTIFIED BY 'it''s \\ a';")
    assert r"SELECT 'it''s \\ a';" in asked and asked.count("x" * 70_000) == 2
    places = (tmp_path / "log.from").read_text().splitlines()
    encrypted = str(tmp_path / "var/lib/mysql/")
    assert places and all(place.startswith(("pipe:", encrypted)) for place in places), places
