"""Says whether a text looks like a credential: by well-known forms, by the name it has, by how random it is.

In: a name and a value. Out: what it seems to be, in words that never repeat the value, or nothing. What only refers to
a credential (a placeholder, a path, the name of an object) and what is plainly something else (a number, a truth
value, a host) is none.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from math import log2

from sconectl.text.secret_placeholders import START

_SHORTEST_FORM = 12  # no well-known form has fewer characters
_RANDOM_LENGTH = 16
_RANDOM_BITS = 3.0  # of entropy in each character; words of a language have less at this length
_PIN_LENGTH = 6  # digits; what is called a password and is shorter is a port, a size or a switch

_LATE = (START, "{{")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PASSWORD = ("password", "passwd", "passphrase", "passcode")
_NOUN = ("secret", "token", "credential", "credentials", "apikey")
_SHORT_NOUN = frozenset({"pass", "pwd", "pw"})
_KEYS = frozenset(
    {"access", "account", "api", "app", "auth", "encryption", "hmac", "master", "private", "secret"}
    | {"session", "signing", "storage"}
)  # followed by `key`
_KEY_OR_PIN = frozenset({"key", "pin"})
_OPEN_KEYS = frozenset({"public", "pub", "primary", "foreign", "sort", "partition", "cache", "cas"})
_OBJECTS = frozenset({"ingress", "k8s", "kube", "kubernetes", "pull", "ssl", "tls"})
"""Words in front of `secret` that make it an object of the cluster, which has a name and no value."""
_RELATED = frozenset({*_PASSWORD, *_NOUN, "pass", "key", "auth", "cred", "creds", "salt"})
_DESCRIBES = frozenset(
    {"public", "pub", "cas", "hash", "digest", "fingerprint", "id", "name", "file", "path", "dir", "url", "uri"}
    | {"host", "version", "type", "image", "algorithm", "issuer", "audience"}
)
"""Words that make a name one of something public, or of something about a credential."""

_WORD_VALUES = frozenset(
    {"true", "false", "yes", "no", "on", "off", "none", "null", "nil", "enabled", "disabled", "required", "optional"}
    | {"auto", "default", "unset", "n/a", "-"}
)
_UNIT = r"(?:ms|s|sec|m|min|h|d|days?|hours?|w|y|k|K|M|G|T|Ki|Mi|Gi|Ti|KB|MB|GB|%)"
_INERT = re.compile(
    rf"[+-]?[0-9]+(?:[.,:][0-9]+)?{_UNIT}?"  # a number, size, duration, ratio
    r"|(?:~|\.{1,2})?(?:/[\w.@+-]+)+/?|/"  # a path
    r"|[\w.-]+\.(?:pem|crt|cer|key|json|ya?ml|txt|conf|cfg|ini|toml|p12|pfx|jks|env|pub|csr|der|xml|sock|py|sh)"
    r"|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}(?::[0-9]+)?"  # a host
    r"|[A-Za-z][A-Za-z0-9+.-]*://\S*"  # a URL; one that holds a password has been found by its form
    r"|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"  # the name of a variable or secret
    r"|\$\{?\w+(?::-[^}]*)?\}?"  # a variable without a value
    r"|<[^>]*>|(.)\1*"  # a gap to be filled in
)
_IDENTIFIER = re.compile(r"(?:[a-z]+[0-9]{0,2})(?:[-_.](?:[a-z]+[0-9]{0,2}|[0-9]{1,4}))+")
_RANDOM = re.compile(r"[A-Za-z0-9+/=_.~-]+")


def credential(name: str, value: str) -> str:
    """Return the kind of credential in the variable or secret `name`, like `a password`; empty if it seems none."""
    kind = _by_name(name)
    if not kind and len(value) < _SHORTEST_FORM:
        return ""
    text = value.strip()
    if found := known_form(text):
        return found
    if not kind or _is_inert(text, strong=kind == "password"):
        return ""
    if kind == "password":
        return "a password"
    if kind == "noun" and _IDENTIFIER.fullmatch(text) is None:
        return "a credential"
    return "a credential" if _is_random(text) else ""


def known_form(text: str) -> str:
    """Return which kind of credential has a form that is found in `text`, or nothing."""
    if len(text) < _SHORTEST_FORM:
        return ""
    for found in _forms().finditer(text):
        kind = str(found.lastgroup)
        if kind in ("url", "pair", "sql") and _is_gap(found[kind]):
            continue
        return _FORM_NAMES[kind]
    return ""


_FORM_NAMES = {
    "pem": "a private key",
    "aws": "an access key of AWS",
    "github": "a token of GitHub",
    "gitlab": "a token of GitLab",
    "slack": "a token of Slack",
    "stripe": "a key of Stripe",
    "google": "an API key of Google",
    "package": "a token of a package registry",
    "model": "a token of a model service",
    "mail": "a key of SendGrid",
    "jwt": "a JSON web token",
    "header": "an authorization header",
    "url": "a URL with a password",
    "pair": "a connection string with a password",
    "sql": "an SQL statement with a password",
}


@cache
def _forms() -> re.Pattern[str]:
    """Return the forms of well-known credentials; made when there is the first text to look at."""
    return re.compile(
        r"(?P<pem>-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)"
        r"|(?P<aws>\b(?:AKIA|ASIA)[0-9A-Z]{16}\b)"
        r"|(?P<github>\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22})"
        r"|(?P<gitlab>\bglpat-[A-Za-z0-9_-]{20})"
        r"|(?P<slack>\bxox[abeoprs]-[A-Za-z0-9-]{10})"
        r"|(?P<stripe>\b[rs]k_(?:live|test)_[A-Za-z0-9]{16})"
        r"|(?P<google>\bAIza[0-9A-Za-z_-]{35})"
        r"|(?P<package>\bnpm_[A-Za-z0-9]{36}|\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50})"
        r"|(?P<model>\bhf_[A-Za-z]{34}|\bsk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{32})"
        r"|(?P<mail>\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})"
        r"|(?P<jwt>\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
        r"|(?P<header>(?:\A|:\s*)(?:[Bb]earer|[Bb]asic)\s+(?=[A-Za-z+/._~-]*[0-9=])[A-Za-z0-9+/._~-]{12,}=*)"
        r"|\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@?#]{0,80}:(?P<url>[^\s/@?#]{1,200})@"
        r"|(?i:\b(?:password|pwd|accountkey|sharedaccesskey)\s?=\s?)(?P<pair>[^\s;&,\"']{3,})(?=;|&|\s|\Z)"
        r"|(?i:\bidentified\s+by\s+)'(?P<sql>[^'\s]{1,200})'"
    )


def names_a_credential(name: str) -> bool:
    """Say whether the name of a variable says that its value is a credential: API_TOKEN does, TOKEN_URL does not.

    The last word counts; a key is a secret one unless the word in front of it says otherwise.
    """
    name = name.strip("0123456789_")
    words = [word.lower() for word in _WORDS.findall(name)]
    if words and words[-1] in _KEY_OR_PIN:
        return len(words) == 1 or words[-2] not in _OPEN_KEYS
    return _by_name(name) in ("password", "noun")


@cache
def _by_name(name: str) -> str:
    """Return the kind of value that a name announces: `password`, `noun` (another credential), `related`, or none."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return ""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last.endswith(_PASSWORD):
        return "password"
    noun = last.endswith(_NOUN) and before not in _OBJECTS
    if noun or last in _SHORT_NOUN or (last == "key" and before in _KEYS):
        return "noun"
    related = not _RELATED.isdisjoint(words) and _DESCRIBES.isdisjoint(words) and before not in _OBJECTS
    return "related" if related else ""


def _is_inert(text: str, *, strong: bool) -> bool:
    """Say whether a value cannot be a credential; a number that is called a password can."""
    if text.isascii() and text.isdecimal() and len(set(text)) > 1:
        return not (strong and len(text) >= _PIN_LENGTH)
    late = any(mark in text for mark in _LATE)
    return late or text.lower() in _WORD_VALUES or not text or _INERT.fullmatch(text) is not None


def _is_gap(text: str) -> bool:
    """Say whether a place for a password holds none, but what is replaced by one."""
    return text[0] in "$<%*" or any(mark in text for mark in _LATE) or len(set(text)) == 1


def _is_random(text: str) -> bool:
    if len(text) < _RANDOM_LENGTH or not _RANDOM.fullmatch(text) or _IDENTIFIER.fullmatch(text):
        return False
    digits = sum(character.isdigit() for character in text)
    if not 2 <= digits < len(text):  # one digit is in many names, too
        return False
    shares = (count / len(text) for count in Counter(text).values())
    return -sum(share * log2(share) for share in shares) >= _RANDOM_BITS
