"""Numbers and channels that a CAS remembers: for a time, in a bounded number."""

from __future__ import annotations

import threading

import pytest

from sconectl.cas.attest import channels
from sconectl.cas.attest.channels import CHANNEL_SECONDS, NONCE_SECONDS, Attested, Channels, Nonces
from sconectl.cas.bounds.refusal import CasRefusal

NOW = 1_700_000_000.0


def attested(service: str = "app", since: float = NOW) -> Attested:
    return Attested("acme", "00" * 32, service, "ab" * 32, since)


def test_a_number_is_good_once() -> None:
    nonces = Nonces()
    first, second = nonces.give(NOW), nonces.give(NOW)
    assert first != second and len(bytes.fromhex(first)) == 32
    assert nonces.take(first, NOW + 1)
    assert not nonces.take(first, NOW + 1)
    assert nonces.take(second, NOW + NONCE_SECONDS)


def test_numbers_expire() -> None:
    nonces = Nonces()
    old, back = nonces.give(NOW), nonces.give(NOW)
    assert not nonces.take(old, NOW + NONCE_SECONDS + 1)
    assert not nonces.take(old, NOW)
    assert not nonces.take(back, NOW - NONCE_SECONDS - 1)


@pytest.mark.parametrize("nonce", [None, "", "00" * 32])
def test_other_numbers_are_not_good(nonce: str | None) -> None:
    nonces = Nonces()
    nonces.give(NOW)
    assert not nonces.take(nonce, NOW)


def test_numbers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_MAX_NONCES", 3)
    nonces = Nonces()
    given = [nonces.give(NOW) for _ in range(5)]
    assert [nonces.take(nonce, NOW) for nonce in given] == [False, False, True, True, True]


def test_only_one_of_many_threads_takes_a_number() -> None:
    nonces = Nonces()
    nonce = nonces.give(NOW)
    taken: list[bool] = []
    threads = [threading.Thread(target=lambda: taken.append(nonces.take(nonce, NOW))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 15 + [True]


def refused(known: Channels, channel: bytes, now: float = NOW) -> None:
    with pytest.raises(CasRefusal) as caught:
        known.behind(channel, now)
    assert caught.value.status == 403
    assert caught.value.causes == ("This connection is not attested", "Attest first, with the same certificate")


def test_channels_are_known_by_their_certificate() -> None:
    known = Channels()
    known.remember(b"a", attested("one"))
    known.remember(b"b", attested("two"))
    assert known.behind(b"a", NOW).service == "one"
    assert known.behind(b"b", NOW).service == "two"
    refused(known, b"c")
    refused(known, b"")
    known.remember(b"a", attested("three"))
    assert known.behind(b"a", NOW).service == "three"


def test_channels_expire() -> None:
    known = Channels()
    known.remember(b"a", attested())
    assert known.behind(b"a", NOW + CHANNEL_SECONDS)
    refused(known, b"a", NOW + CHANNEL_SECONDS + 1)
    refused(known, b"a")


def test_the_channel_that_was_used_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_MAX_CHANNELS", 3)
    known = Channels()
    for channel in (b"a", b"b", b"c"):
        known.remember(channel, attested())
    known.behind(b"a", NOW)
    known.remember(b"d", attested())
    refused(known, b"b")
    for channel in (b"a", b"c", b"d"):
        assert known.behind(channel, NOW)
