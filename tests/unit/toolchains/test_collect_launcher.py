"""What the launcher's bundle is made of."""

from __future__ import annotations

import pytest

from sconectl.toolchains.sim.collect_launcher import NO_PRELOAD, PRELOAD, without_preload


def test_the_loader_looks_for_no_preload_file_of_the_image() -> None:
    changed = without_preload(b"before" + PRELOAD + b"after")
    assert changed == b"before" + NO_PRELOAD + b"after"
    assert len(NO_PRELOAD) == len(PRELOAD)
    assert NO_PRELOAD.startswith(b"/scone/")


@pytest.mark.parametrize("loader", [b"", b"/etc/ld.so.cache\0", PRELOAD + PRELOAD])
def test_an_unknown_loader_is_refused(loader: bytes) -> None:
    with pytest.raises(SystemExit, match="not of the known kind"):
        without_preload(loader)
