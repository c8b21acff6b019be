"""What an attested program gets: command, environment, files, volumes and keys, with the secrets filled in.

In: a session, one of its services, and the transaction that knows the values. Out: plain JSON values. Raises
`CasRefusal` if a secret or volume cannot be had or does not fit its place.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from sconectl.cas.attest.placeholder_filling import Filler, SecretValues, key_behind
from sconectl.cas.attest.tags import Subject, current_tag
from sconectl.cas.attest.volumes import opened_volumes
from sconectl.cas.bounds.limits import DEFAULT
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.policy.reading import Image, Service, Session
from sconectl.text.secret_placeholders import START, is_reference

if TYPE_CHECKING:
    from sconectl.cas.store.store import Transaction

_HOST_ARGUMENT = re.compile(r"@@([0-9]{1,9})\Z")
_HOST_VARIABLE = "\\@\\@"
_MARK = START.encode()


def configuration(
    transaction: Transaction,
    values: SecretValues,
    session: Session,
    session_hash: str,
    service: Service,
    measurement: str,
    *,
    most: int = DEFAULT.filled_bytes,
) -> tuple[dict[str, Any], int | None]:
    """Return the whole configuration of `service` for the program with this measurement (64 hex digits).

    Besides, return the unix time from which on the files hold other certificates, if that will come. Texts and files
    have at most `most` bytes together.

    Values that the container may choose are named, not filled in: `{"host": N}` stands for the N-th argument of the
    container, and `host_environment` lists variables to take over (LANG §18). `fs_files` are files that the program's
    launcher reads itself, and has filled in by `filled_files`. `session_hash` is there only if the session has, or
    had, a salt: a program that any enclave may be must not learn it (LANG §4).
    """
    filler = Filler(transaction, values, session, measurement, most=most)
    image = _image(session, service)
    own = {key: value for key, value in service.environment.items() if not key.startswith(_HOST_VARIABLE)}
    host = (key.removeprefix(_HOST_VARIABLE) for key in service.environment if key.startswith(_HOST_VARIABLE))
    config = {
        "session": session.name,
        "service": service.name,
        **({"session_hash": session_hash} if transaction.is_salted(session.name) else {}),  # else it is confidential
        "argv": [_argument(filler, item, number) for number, item in enumerate(service.command)],
        "environment": {key: filler.text(value, f"environment variable {key}") for key, value in own.items()},
        "host_environment": [name for name in host if name not in own],  # variables of the policy win
        "pwd": service.pwd or "/",
        "files": _files(filler, image),
        "fs_files": [
            {"path": file.path, "permission": file.permission}
            for file in (image.injection_files if image else ())
            if file.content is None
        ],
        "fspf": _fspf(transaction, values, session, service),
        "volumes": [volume.to_dict() for volume in opened_volumes(transaction, values, session, session_hash, service)],
    }
    return config, filler.renew


def fspf_subject(session: Session, service: Service) -> Subject | None:
    """Return the main file system of `service`, as the owner of a tag; None if the service has none."""
    if service.fspf_path is None:
        return None
    key = f"fspf:{service.name}:{service.fspf_tag or ''}"
    return Subject(session.name, key, service.fspf_tag, service.fspf_update_policy)


def filled_files(
    transaction: Transaction,
    values: SecretValues,
    session: Session,
    service: Service,
    measurement: str,
    files: Any,
    *,
    most: int = DEFAULT.filled_bytes,
) -> tuple[list[dict[str, str]], int | None]:
    """Return the files that a launcher has read, with placeholders replaced (LANG §9, §15), and when they are others.

    `files` are `{"path", "content": base64}`, only of paths that the session lists without content. Raises
    `CasRefusal`: 400 for another form, 403 for other paths and for secrets beyond `provide_secrets`.
    """
    image = _image(session, service)
    listed = {file.path for file in (image.injection_files if image else ()) if file.content is None}
    filler = Filler(transaction, values, session, measurement, only=image.provide_secrets if image else None, most=most)
    result = []
    for path, content in _received(files):
        if path not in listed:
            raise CasRefusal(403, f"The session does not inject {path} from the file system")
        filled = _fill_in(filler, content, path)
        result.append({"path": path, "content": base64.b64encode(filled).decode()})
    return result, filler.renew


def _image(session: Session, service: Service) -> Image | None:
    return session.image(service.image_name) if service.image_name is not None else None


def _argument(filler: Filler, item: str, number: int) -> str | dict[str, int]:
    host = _HOST_ARGUMENT.match(item)
    return {"host": int(host[1])} if host else filler.text(item, f"argument {number}")


def _files(filler: Filler, image: Image | None) -> list[dict[str, Any]]:
    return [
        {
            "path": file.path,
            "permission": file.permission,
            "content": base64.b64encode(filler.content(file.content, f"file {file.path}")).decode(),
        }
        for file in (image.injection_files if image else ())
        if file.content is not None
    ]


def _fspf(transaction: Transaction, values: SecretValues, session: Session, service: Service) -> dict[str, Any] | None:
    subject = fspf_subject(session, service)
    if subject is None or service.fspf_key is None:
        return None
    key = service.fspf_key
    if is_reference(key):
        key = key_behind(transaction, values, session, key, "the file system").hex()
    return {
        "path": service.fspf_path,
        "key": key,
        "tag": current_tag(transaction, subject),
        "initial_tag": subject.initial,
        "update_policy": subject.policy,
    }


def _received(files: Any) -> list[tuple[str, bytes]]:
    try:
        if not isinstance(files, list) or not all(isinstance(file["path"], str) for file in files):
            raise TypeError("not a list of files")
        return [(file["path"], base64.b64decode(file["content"], validate=True)) for file in files]
    except (KeyError, TypeError, ValueError) as error:
        raise CasRefusal(
            400, "The files are malformed", "Expected a list of {path, content}, the content as base64"
        ) from error


def _fill_in(filler: Filler, content: bytes, path: str) -> bytes:
    if _MARK not in content:
        return content
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise CasRefusal(403, f"Filling secrets into file {path} failed", "It is not UTF-8 text") from error
    return filler.content(text, f"file {path}")
