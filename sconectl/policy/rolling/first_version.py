"""What a session says about the version that was applied last, without the other one that it holds.

In: a session. Out: the same session with one version, that names no predecessor and no creator yet.
"""

from __future__ import annotations

from sconectl.policy.model.session import Session
from sconectl.policy.rolling.overlap import behind, used_by
from sconectl.policy.rolling.versions import Names, versions_in


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
