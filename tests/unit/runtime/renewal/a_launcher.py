"""A launcher from attestation on, as a process: run with a JSON object that says what it is and where its memory is.

What it does before, measuring an image and opening what is encrypted in it, needs a container.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from sconectl.protect.index import Index
from sconectl.runtime import files, launcher, log
from sconectl.runtime.attest import Attester, fetch_configuration, fill_file
from sconectl.runtime.configuration import Host
from sconectl.runtime.enclave import Enclave
from sconectl.runtime.link import CasLink, open_channel
from sconectl.runtime.renewal.renewing import start_renewing
from sconectl.runtime.start import find_program, start


def main() -> None:
    known = json.loads(sys.argv[1])
    files.MEMORY = known["memory"]
    log.configure("info")
    launcher._prepare_process()
    shell = os.path.realpath("/bin/sh")
    entries = dict.fromkeys(("/bin", "/bin/sh", "/usr/bin/sh"), ("l",)) | {shell: ("f",)}
    enclave = Enclave(known["measurement"], "", known["parameters"], Index((), (), entries), ())
    attester = Attester(known["cas"], known["key"], "", known["config_id"], enclave.identity(), "", Host())
    channel = open_channel()
    link = CasLink(attester.cas_address, attester.cas_key, channel, timeout=5)
    config = fetch_configuration(
        link, link, channel, config_id=known["config_id"].partition("@")[0], identity=attester.identity,
        host=attester.host, patience=0,
    )  # fmt: skip
    given = files.Given(config)
    for path, _ in config.fs_files:
        given.filled(path, known["original"].encode(), *fill_file(link, path, known["original"].encode(), patience=0))
    permissions = {path: permission for path, permission, _ in config.files} | dict(config.fs_files)
    files.replace_files(((path, permissions[path], text) for path, text in given.contents.items()), enclave.index)
    link.close()
    program = find_program(config, enclave.index)
    begin = None if given.renew_in is None else start_renewing(attester, enclave, config, given)
    if known["lose"]:
        [renewing] = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        os.kill(int(renewing), signal.SIGKILL)
        os.waitpid(int(renewing), 0)
    Path(known["ready"]).write_text(str(given.renew_in))
    start(config, program, begin=begin)


if __name__ == "__main__":
    main()
