"""What a session says about the version that was applied last, without the other one that it holds.

In: a session. Out: the same session with one version, that names no predecessor and no creator yet.
"""

from __future__ import annotations

from sconectl.policy.model.session import Session
from sconectl.policy.rolling.overlap import behind, used_by
from sconectl.policy.rolling.versions import Names, as_first, suffix, versions_in


def first_version(session: Session, names: Names) -> Session:
    """Return the session with its first version, and without secrets that only another one uses."""
    others = [service for group in list(versions_in(session, names).values())[1:] for service in group]
    services = tuple(service for service in session.services if service not in others)
    images = {service.image_name for service in others} - {service.image_name for service in services}
    theirs = {secret.name for secret in behind(session, used_by(session, others))}
    ours = {secret.name for secret in behind(session, used_by(session, services))}
    return session.model_copy(
        update={
            "predecessor": None,
            "namespace_hash": None,
            "creator": None,
            "services": services,
            "images": tuple(image for image in session.images if image.name not in images),
            "secrets": tuple(
                secret
                for secret in session.secrets
                if secret.name not in theirs - ours or secret.export or secret.export_public
            ),
        }
    )


def alone(session: Session, names: Names) -> Session:
    """Return a session as if its current version were the only one, and the first; itself if that is so."""
    found = versions_in(session, names)
    if list(found) in ([], [1]):
        return session
    number = next(iter(found))
    one, end = first_version(session, names), suffix(number)
    renamed = {names.image + end: names.image, names.key + end: names.key}
    return one.model_copy(
        update={
            "services": tuple(
                as_first(each, names, number) if each in found[number] else each for each in one.services
            ),
            "images": tuple(each.model_copy(update={"name": renamed.get(each.name, each.name)}) for each in one.images),
            "secrets": tuple(
                each.model_copy(update={"name": renamed.get(each.name, each.name)}) for each in one.secrets
            ),
        }
    )
