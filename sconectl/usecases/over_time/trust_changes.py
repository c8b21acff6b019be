"""Changes of sessions that weaken the protection, and that nobody has allowed for now.

In: the sessions of a mesh beside what the CAS has, the manifest with its waivers, and the date. Out: findings at the
services that they are about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from sconectl.apply.sessions import Update
from sconectl.manifest.reading.reader import Manifest
from sconectl.plan.advice.changes import unwaived
from sconectl.text.findings import Finding
from sconectl.usecases.over_time.session_changes import place_of


def weakenings(manifest: Manifest, updates: Sequence[Update], today: date) -> Iterator[Finding]:
    """Yield a finding, with the change's own code, for each change that weakens and that no waiver allows on `today`.

    A session that is new weakens nothing.
    """
    changes = {update.name: update.changes for update in updates if update.outcome == "update"}
    for session, found in unwaived(changes, manifest, today).items():
        for change in found:
            message = f"session {session} would be weakened: {change.subject}: {change.message}"
            hint = (
                f"`sconectl explain {change.code}` says how to do it safer; if it is meant, put "
                f'`# sconectl:allow {change.code} until=YYYY-MM-DD reason="…"` in this line'
            )
            yield manifest.document.finding("error", change.code, place_of(manifest, session), message, hint)
