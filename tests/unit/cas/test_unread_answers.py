"""An answer that is read slowly, or not at all: the whole of it has one time limit."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from sconectl.cas.bounds.limits import Limits
from sconectl.cas.http.http_protocol import CasProtocol
from sconectl.cas.http.responses import BytesResponse


class _Flow:
    """Counts nothing: the protocol under test decides when a client reads too slowly."""

    write_paused = False

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False


class _Cycle:
    response_complete = False


class _Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("ends", [True, False], ids=["read to its end", "read drop by drop"])
def test_a_slow_reader_has_one_time_limit(ends: bool) -> None:
    async def main() -> bool:
        protocol = CasProtocol.__new__(CasProtocol)
        transport = _Transport()
        protocol.__dict__.update(
            loop=asyncio.get_running_loop(), flow=_Flow(), cycle=_Cycle(), transport=transport,
            _limits=Limits(stalled_seconds=0.1), _unread=None,
        )  # fmt: skip
        for _ in range(10):
            protocol.pause_writing()
            await asyncio.sleep(0.02)
            if ends:
                cast(Any, protocol.cycle).response_complete = True
            protocol.resume_writing()
        return transport.aborted

    assert asyncio.run(main()) is not ends


@pytest.mark.parametrize("size", [0, 1, 32767, 32768, 32769, 65536, 200_001])
def test_pieces_are_the_whole_answer(size: int) -> None:
    async def main() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await BytesResponse(b"x" * size)({}, cast(Any, None), send)
        return sent

    start, *pieces = asyncio.run(main())
    assert start["status"] == 200
    assert b"".join(piece["body"] for piece in pieces) == b"x" * size
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert all(len(piece["body"]) <= 1 << 15 for piece in pieces)
