"""Changes of texts for the campaigns: parts swapped, tokens exchanged, bytes flipped, strange values put in."""

from __future__ import annotations

import copy
import random
import re
from dataclasses import dataclass
from typing import Any


def subtrees(value: Any) -> list[tuple[Any, Any]]:
    """Return the places in a tree: container and key."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        node = waiting.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            found.append((node, key))
            if isinstance(node[key], (dict, list)):
                waiting.append(node[key])
    return found


@dataclass(frozen=True)
class Changes:
    """Changes that put `strange` values and known `keys` into texts of these tokens, nested as deep as `depths`."""

    strange: list[str]
    keys: list[str]
    token: re.Pattern[str]
    depths: tuple[int, ...] = (5, 60, 70)

    def strange_tree(self, rng: random.Random, depth: int = 0) -> Any:
        choice = rng.random()
        if choice < 0.7 or depth > 3:
            return rng.choice(self.strange)
        if choice < 0.75:
            nest: Any = "x"
            for _ in range(rng.choice(self.depths)):
                nest = [nest] if rng.random() < 0.5 else {"a": nest}
            return nest
        if choice < 0.85:
            return [self.strange_tree(rng, depth + 1) for _ in range(rng.randrange(4))]
        return {
            rng.choice(self.keys + self.strange): self.strange_tree(rng, depth + 1) for _ in range(rng.randrange(4))
        }

    def tree(self, rng: random.Random, tree: Any, other: Any) -> Any:
        """Swap, copy, rename, remove or replace parts of a document, some by parts of another one."""
        for _ in range(rng.choice([1, 1, 2, 5])):
            places = subtrees(tree)
            if not places:
                break
            container, key = rng.choice(places)
            action = rng.randrange(6)
            if action == 0:
                container[key] = self.strange_tree(rng)
            elif action == 1:
                source, name = rng.choice(subtrees(other))
                container[key] = copy.deepcopy(source[name])
            elif action == 2 and isinstance(container, dict):
                new = rng.choice(self.keys) if rng.random() < 0.5 else key[:-1] + rng.choice("aeys_")
                container[new] = container.pop(key)
            elif action == 3:
                del container[key]
            elif action == 4 and isinstance(container[key], str):
                container[key] = rng.choice([container[key].upper(), container[key] + rng.choice(self.strange)])
            elif isinstance(container, dict):
                container[rng.choice(self.keys)] = copy.deepcopy(container[key])
            else:
                container.append(copy.deepcopy(container[key]))
        return tree

    def tokens(self, rng: random.Random, text: str) -> str:
        for _ in range(rng.choice([1, 1, 2, 4])):
            tokens = list(self.token.finditer(text))
            if len(tokens) < 2:
                break
            first, second = rng.choice(tokens), rng.choice(tokens)
            new = second[0] if rng.random() < 0.6 else rng.choice(self.strange)
            text = text[: first.start()] + new + text[first.end() :]
        return text

    def bytes_of(self, rng: random.Random, text: str) -> bytes:
        raw = bytearray(text.encode())
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = rng.randrange(len(raw))
            if rng.random() < 0.5:
                raw[at] = rng.randrange(256)
            elif rng.random() < 0.5:
                del raw[at : at + rng.randrange(1, 20)]
            else:
                raw[at:at] = rng.choice(self.strange).encode()
            if not raw:
                raw = bytearray(b"x")
        return bytes(raw)
