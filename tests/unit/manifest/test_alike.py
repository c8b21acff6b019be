"""Which name is meant by a word that is not known."""

from __future__ import annotations

import time

from sconectl.manifest.model.faults import did_you_mean
from sconectl.manifest.spelling.alike import names_of

MANY = tuple(f"service-num-{number}" for number in range(5000))


def test_of_few_names_the_nearest_is_meant() -> None:
    assert did_you_mean("enviroment", ["environment", "secrets"]) == "did you mean environment?"
    assert did_you_mean("unrelated", ["environment", "secrets"]) == ""


def test_of_many_names_one_that_differs_in_one_character_is_meant() -> None:
    assert names_of(MANY).nearest("zervice-num-4999") == "service-num-4999"
    assert names_of(MANY).nearest("Service_Num_12") == "service-num-12"
    assert names_of(MANY).nearest("something-else") is None
    assert names_of((*MANY, "a")).nearest("b") is None


def test_thousands_of_mistakes_among_thousands_of_names_take_no_time() -> None:
    start = time.process_time()
    hints = [did_you_mean(f"zervice-num-{number}", MANY) for number in range(5000)]
    assert all(hints)
    assert time.process_time() - start < 5


def test_long_words_are_not_compared() -> None:
    start = time.process_time()
    assert did_you_mean("ab" * 200_000, ["ba" * 200_000]) == ""
    assert time.process_time() - start < 1
