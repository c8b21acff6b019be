"""What a README promises is found in an output, or missed."""

from __future__ import annotations

from e2e.readme_walk import Block, blocks, missing

PAGE = """
```yaml
not: run
```
- **Try**
  ```sh
  run() { echo "$1"; }
    run 1
  ```
  ```
  one …
  two
  ```
text
```sh
ls
```
"""


def test_blocks() -> None:
    assert blocks(PAGE) == [Block('run() { echo "$1"; }\n  run 1\n', ("one …", "two")), Block("ls\n", ())]


def test_promises() -> None:
    assert missing(("a … c", "d"), "x\na b c\ny\nd\n") == []
    assert missing(("d", "a … c"), "x\na b c\nd\n") == ["a … c"]
    assert missing(("a.c",), "abc\n") == ["a.c"]
    assert missing(("a", "a"), "a\n") == ["a"]
