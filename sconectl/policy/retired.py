"""Sessions that give nothing to anybody: they take the place of those that nobody needs any more.

In: a session. Out: its successor, in which no program is started and nothing is shared. A CAS deletes no session, and
an active one goes on giving its secrets to every program that it was made for.
"""

from __future__ import annotations

from collections.abc import Iterator

from sconectl.policy.forms import placeholders
from sconectl.policy.forms.fields import VERSIONS
from sconectl.policy.model.access_policy import AccessPolicy
from sconectl.policy.model.secret import Secret
from sconectl.policy.model.security import Security
from sconectl.policy.model.session import Session
from sconectl.policy.serialized.canonical import same_content
from sconectl.policy.serialized.features import lowest_version
from sconectl.text.yaml_tree import texts_in

_NOBODY = ("NONE",)
_DRAWN = frozenset({"ascii", "binary", "private-key", "pgp-key"})


def retired(session: Session, *, keep_secrets: bool = True) -> Session:
    """Return what replaces `session`: nothing in it is given to anybody, and it names no predecessor yet.

    Who may read and update it stay who they were, and nobody may create sessions in it; but a policy that is decided by
    a secret is left as it is, with that secret. With `keep_secrets` it keeps, for itself, what a CAS keeps over updates
    of what it drew: values, keys that may migrate, and keys of volumes. So an older version can be put back.
    """
    policy = session.access_policy
    if isinstance(policy, AccessPolicy):
        nobody = None if policy.update == _NOBODY else _NOBODY  # who may update is the default, and is not spelled out
        policy = policy.model_copy(update={"create_sessions": nobody})
    names = {secret.name for secret in session.secrets if keep_secrets and _is_kept(secret)} | set(_deciding(session))
    found = session.model_copy(
        update={
            "predecessor": None,
            "namespace_hash": None,
            "access_policy": policy,
            "security": Security(),
            "services": (),
            "images": (),
            "secrets": tuple(
                secret.model_copy(update={"export": (), "export_public": False})
                for secret in session.secrets
                if secret.name in names
            ),
            "volumes": tuple(
                volume.model_copy(update={"export": ()})
                for volume in session.volumes
                if keep_secrets and volume.import_ is None and volume.fspf_key is None
            ),
        }
    )
    needed = max(found.version, lowest_version(found), key=VERSIONS.index)
    return found.model_copy(update={"version": needed})


def is_retired(session: Session) -> bool:
    """Say whether a session gives nothing to anybody already."""
    return not (session.services or session.images) and same_content(session, retired(session))


def _is_kept(secret: Secret) -> bool:
    """Say whether a CAS drew the value of a secret, and keeps it if the next version has the same secret."""
    return secret.generated and secret.kind in _DRAWN and (secret.migrate or secret.kind != "private-key")


def _deciding(session: Session) -> Iterator[str]:
    """Yield the secrets that say who may do what, and where secrets are kept, and those that they are made with."""
    policy = session.access_policy
    plain = [policy if isinstance(policy, str) else policy.model_dump(), session.secret_config.model_dump()]
    names = [placeholder.name for _, text in texts_in(plain) for placeholder in placeholders.find(text)]
    for name in names:  # which grows
        yield name
        secret = session.secret(name)
        if secret is not None:
            made_with = (secret.private_key, secret.issuer, secret.signer)
            names += [other for other in made_with if other is not None and other not in names]
