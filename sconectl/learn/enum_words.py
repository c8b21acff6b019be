"""What the values of some fields of the session language mean, for editors and `sconectl explain`."""

from __future__ import annotations

ATTESTATION_MODES = {
    "hardware": "enclaves prove with SGX (DCAP) what they are; the default",
    "maa": "Microsoft Azure Attestation says what they are; needs `url`",
    "simulation": "programs of the toolchain sim say what they are, and no hardware vouches for it; only the CAS of "
    "`sconectl cas serve` accepts it",
    "none": "nothing is checked: whoever asks gets the secrets",
}
TOLERATIONS = {
    "debug-mode": "enclaves that may be looked into; never in production",
    "hyperthreading": "machines with hyperthreading",
    "insecure-igpu": "machines with an integrated graphics unit that is not fit",
    "aepic-leak": "machines with the weakness called AEPIC leak",
    "software-hardening-needed": "machines where programs have to be hardened against a known attack",
    "insecure-configuration": "machines whose firmware is set up in a weak way",
    "outdated-tcb": "machines whose firmware or microcode is too old",
    "maa-managed-tcb": "what is safe enough is decided by Azure; needed for mode maa",
    "local-attestation-trust-cas-tcb": "services on the machine of the CAS are attested there",
}
FSPF_POLICIES = {
    "rollback_protected_reinitializable": "an older state is noticed, except for the first one",
    "no_rollback_protection": "an older state is not noticed",
}
VOLUME_FILES = {
    "encrypted": "nobody can read or change them",
    "authenticated-only": "they can be read, and a change is noticed",
}
