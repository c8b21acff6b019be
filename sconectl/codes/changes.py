"""Codes SC5xxx, what weakens a session when a new version replaces the old one: who may do or have more than before."""

from __future__ import annotations

from sconectl.codes.changes_of_secrets import CODES as SECRET_CODES
from sconectl.codes.code import Code

_SERVICE = "services:\n- name: app\n  attestation: {mrenclave: H}\n"

_WAIVE = (
    "\n\nIf a mesh is to be weakened so for a while, say until when and why: at the service, or at `policy` for all "
    "sessions of the mesh, at the end of a line or right above it:\n\n"
    '# sconectl:allow {code} until=2030-01-31 reason="…"'
)
_CODES: dict[str, Code] = {
    "SC5001": Code(
        "enclaves are attested less strictly",
        "`mode` says who vouches for a program before it gets its configuration: with `hardware` and `maa` the "
        "processor does, with `simulation` nobody but the machine itself, with `none` nobody at all. Whoever can "
        "reach the CAS then gets every secret of the session, and going back to the old mode does not take them "
        "back.\n\n"
        "Keep the mode, and give tests a session of their own, with secrets of their own.",
        "security: {attestation: {mode: none}}",
        "security: {attestation: {mode: hardware}}",
    ),
    "SC5002": Code(
        "a weakness of the machine is tolerated",
        "`tolerate` names what attestation would otherwise refuse: a machine that is not up to date, or not configured "
        "as Intel advises. Programs on such machines now get the secrets, and who attacks the weakness gets them, "
        "too.\n\n"
        "Update the machine instead. If that takes time, tolerate just the one weakness, and remove it afterwards.",
        "security: {attestation: {tolerate: [outdated-tcb, hyperthreading]}}",
        "security: {attestation: {tolerate: [hyperthreading]}}",
    ),
    "SC5003": Code(
        "enclaves in debug mode are accepted",
        "Whoever runs the machine can read and change the memory of an enclave in debug mode, so with `debug-mode` in "
        "`tolerate` all secrets of the session are open to them.\n\n"
        "Build for production. Debug in a session of its own, with secrets that protect nothing.",
        "security: {attestation: {tolerate: [debug-mode]}}",
        "security: {attestation: {tolerate: []}}",
    ),
    "SC5004": Code(
        "a security advisory is ignored",
        "Machines with the weakness that the advisory describes were refused, and are accepted now. `*` accepts those "
        "that become known later, too.\n\n"
        "Update the machine. If that is not possible, ignore the one advisory that you have looked at, and never `*`.",
        'security: {attestation: {tolerate: [outdated-tcb], ignore_advisories: "*"}}',
        "security: {attestation: {tolerate: [outdated-tcb], ignore_advisories: [INTEL-SA-00615]}}",
    ),
    "SC5005": Code(
        "the key of an old quoting enclave is trusted",
        "Who has the private part of the key can vouch for any program. A CAS of today looks at no such key; an older "
        "one does.\n\nRemove `trusted_scone_qe_pubkeys`.",
    ),
    "SC5006": Code(
        "somebody else attests the enclaves",
        "The provider at `url` decides which enclaves are genuine, and its answers are believed if one of "
        "`certificates` vouches for it. A provider or an authority that is added can let any program in.\n\n"
        "Check whom the address belongs to, and name only certificates whose key you trust with all secrets.",
        "security:\n  attestation: {mode: maa, tolerate: [maa-managed-tcb], url: https://shared.example.org/}",
        "security:\n  attestation: {mode: maa, tolerate: [maa-managed-tcb], url: https://own.weu.attest.azure.net/}",
    ),
    "SC5007": Code(
        "services may run on other machines than that of the CAS",
        "`must_be_sgx_local` kept them on one machine. Without it every machine that passes attestation may have the "
        "secrets.\n\nName the machines in `platforms` of the services.",
        "security: {attestation: {must_be_sgx_local: false}}",
        "security: {attestation: {tolerate: [local-attestation-trust-cas-tcb], must_be_sgx_local: true}}",
    ),
    "SC5008": Code(
        "an enclave may get its configuration more than once",
        "With `singleton_enclaves` an enclave that was copied or started again gets nothing. Without it, whoever "
        "controls the machine can run as many as they like, and play them off against each other.\n\n"
        "Keep it, unless the program starts further processes.",
        "security: {singleton_enclaves: false}",
        "security: {singleton_enclaves: true}",
    ),
    "SC5009": Code(
        "a one-time password or access token is not needed any more",
        "Nobody could start the service without it, even on a machine that passes attestation. Now whoever can start "
        "the image can.\n\nKeep it, or limit the machines with `platforms`.",
        _SERVICE,
        _SERVICE + '  one_time_password_shared_secret: "$$SCONE::otp:base32nopad$$"\n'
        "secrets:\n- {name: otp, kind: binary, size: 20}",
    ),
    "SC5010": Code(
        "a secret decides about a part of the session",
        "What is accepted no longer stands in the session, but in a secret: whoever may update the session that "
        "defines it decides, and this session's history does not show when. A part that was delegated before, and "
        "whose value changed, cannot be compared with what it said.\n\n"
        "Look at the value as a whole. Import it with `session_hash`, so that another value needs an update here.",
        "security: $$SCONE::rules$$\nsecrets:\n- {name: rules, import: {session: team/rules, secret: security}}",
        "security: $$SCONE::rules$$\n"
        "secrets:\n- {name: rules, import: {session: team/rules, secret: security, session_hash: H}}",
    ),
    "SC5021": Code(
        "another program may run as a service",
        "The program with this measurement gets whatever the service gets. It was not among those that did, and none "
        "of those is given up for it. (One measurement in the place of another is an update of the program. It is "
        "shown, and does not weaken.)\n\n"
        "Check that the measurement is that of an image you built: `sconectl inspect` shows it. Remove the old one "
        "when nothing runs it any more.",
        "services:\n- {name: app, attestation: {mrenclave: [H1, H2]}}",
        "services:\n- {name: app, attestation: {mrenclave: H2}}",
    ),
    "SC5022": Code(
        "a signer decides which programs may run as a service",
        "Every enclave that the owner of the key has signed, or will sign, with this product number is accepted.\n\n"
        "Name measurements, too. If updates without a new session are what you want, give each product a number of "
        "its own, and a lower bound in `isvsvn_min`.",
        "services:\n- {name: app, attestation: {signer: {mrsigner: H, isvprodid: 1}}}",
        "services:\n- {name: app, attestation: {mrenclave: H, signer: {mrsigner: H, isvprodid: 1, isvsvn_min: 4}}}",
    ),
    "SC5023": Code(
        "the signer or version of a program is checked less strictly",
        "A lower `isvsvn_min`, a higher `isvsvn_max` or no bound at all accepts versions that were refused: old ones "
        "often have faults that are known. Without `signer` nobody has to have signed the program.\n\n"
        "Raise the bound with each release, and go back to an old version by its measurement.",
        "services:\n- {name: app, attestation: {signer: {mrsigner: H, isvprodid: 1, isvsvn_min: 1}}}",
        "services:\n- {name: app, attestation: {signer: {mrsigner: H, isvprodid: 1, isvsvn_min: 4}}}",
    ),
    "SC5024": Code(
        "a secret decides which programs may run as a service",
        "Measurement or signer stand in a secret. Whoever decides about its value decides which program gets what "
        "the service gets.\n\n"
        "Write the measurement into the session, or import the secret with `session_hash`.",
        "services:\n- {name: app, attestation: [$$SCONE::programs$$]}",
        "services:\n- {name: app, attestation: {mrenclave: H}}",
    ),
    "SC5025": Code(
        "a service may run on more machines",
        "`platforms` names the machines; without it every machine that passes attestation is accepted, also those of "
        "somebody else.\n\nAdd just the machine that is needed.",
        _SERVICE,
        _SERVICE + '  platforms: ["INTEL_QE_ID:00112233445566778899aabbccddeeff"]',
    ),
    "SC5031": Code(
        "a variable decides which code is loaded",
        "Interpreters, the loader and libraries take code from where variables like LD_PRELOAD, PYTHONPATH or "
        "NODE_OPTIONS point to, or take it from the variable itself. The measurement of the program does not show "
        "that.\n\n"
        "Put the file where it is found without the variable. If it is needed, let it name directories of the image "
        "that are measured or encrypted, and none that the host provides.",
        _SERVICE + "  environment: {PYTHONPATH: /mnt/host}",
        _SERVICE + "  environment: {PYTHONPATH: /app/lib}",
    ),
    "SC5032": Code(
        "the host decides an argument or a variable",
        "`@@1` in the command, and `\\@\\@NAME` as the name of a variable, have the value that whoever starts the "
        "container gives them. Programs do much for arguments: read files, open ports, print secrets.\n\n"
        "Write the value into the session. If it has to come from outside, let the program check it.",
        _SERVICE + '  command: [app, "@@1"]',
        _SERVICE + "  command: [app, --port, 8443]",
    ),
    "SC5033": Code(
        "an injected file is open to more users",
        "The file holds secrets, and `permission` lets processes of other users in the container read or write it.\n\n"
        "Run what needs it as the user of the program, and keep 0o400.",
        "images:\n- {name: i, injection_files: [{path: /run/key, content: $$SCONE::key$$, permission: 0o444}]}",
        "images:\n- {name: i, injection_files: [{path: /run/key, content: $$SCONE::key$$, permission: 0o400}]}",
    ),
    "SC5034": Code(
        "connections are not protected by the network shield any more",
        "A variable SCONE_NETWORK_SHIELD… was `protected` or `refuse`, and is not any more: what the program sends, "
        "or with whom, is open to the network.\n\n"
        "Keep it, unless the program itself uses TLS for all its connections.",
        _SERVICE + "  environment: {SCONE_NETWORK_SHIELD: unprotected}",
        _SERVICE + "  environment: {SCONE_NETWORK_SHIELD: protected}",
    ),
    "SC5061": Code(
        "everybody may read or list",
        "With ANY no certificate is needed to read the session, with all values that are written in it, or to list "
        "the sessions of the namespace.\n\nName the people by their key hashes.",
        "access_policy: {read: [ANY]}",
        "access_policy: {read: [CREATOR, 4hxbfBB9G1hyrLotptsrDejMXHWSUfknwG9x6q2VU8gLejZMU3]}",
    ),
    "SC5062": Code(
        "somebody else may read or list",
        "Whoever may read the session sees everything in it but the values of secrets that the CAS generated; whoever "
        "may list sees the names of sessions.\n\n"
        "Check whose key it is. Values that readers must not see belong into generated or imported secrets.",
    ),
    "SC5063": Code(
        "everybody may update the session or create sessions below it",
        "Whoever may update a session may let any program run as its services, and give all its secrets away. Whoever "
        "may create sessions in a namespace may make one that a secret is exported to.\n\n"
        "Name the people, or signers that have to agree.",
        "access_policy: {update: [ANY]}",
        "access_policy: {update: [CREATOR]}",
    ),
    "SC5064": Code(
        "somebody else may update the session or create sessions below it",
        "An update can do anything with a session: accept any program, export any secret, take the right to update "
        "from everybody else.\n\n"
        "Check whose key it is. Let two agree (`require-at-least-2`) if none shall be able to do so alone.",
    ),
    "SC5065": Code(
        "fewer people have to agree",
        "A governance rule needs fewer principals than before, so that fewer keys have to be stolen, or people "
        "persuaded, to change the session.\n\n"
        "Keep the number, and add principals to the list if some are not at hand often.",
        "access_policy:\n  update: {require-at-least-1: [K1, K2, K3]}",
        "access_policy:\n  update: {require-at-least-2: [K1, K2, K3]}",
    ),
    "SC5066": Code(
        "the salt is removed from a session whose hash is public",
        "Once a version had a salt, anybody may ask for the hash of the session. Without a salt, who knows most of the "
        "content can try values for the rest until the hash fits.\n\n"
        "Keep the salt in each version.",
        'name: shop\nversion: "0.3.12"',
        'name: shop\nversion: "0.3.12"\nsalt: 04b1dfc79f9c3ba96cb009b9e7914497',
    ),
    "SC5071": Code(
        "older states of a file system are not noticed any more",
        "With `no_rollback_protection` whoever has the disk can put an earlier state of the files in its place: data "
        "that was deleted comes back, keys that were revoked are valid again.\n\n"
        "Keep `rollback_protected`. For files that only one run needs, `ephemeral` does not have this weakness.",
        "images:\n- {name: i, volumes: [{name: v, path: /data, update_policy: no_rollback_protection}]}",
        "images:\n- {name: i, volumes: [{name: v, path: /data}]}",
    ),
    "SC5072": Code(
        "the files of a volume are authenticated only",
        "Changes of the files are noticed, but whoever has the disk can read them.\n\n"
        "Keep `encrypted`; use another volume for files that may be public.",
        "volumes:\n- {name: v, files: authenticated-only}",
        "volumes:\n- {name: v, files: encrypted}",
    ),
    "SC5073": Code(
        "a session gets a volume",
        "The services of that session can read and change what is on the volume, and whoever may update that session "
        "decides which programs these are.\n\n"
        "Export to one version of it, with `session_hash`, and let its services only read, with "
        "`update_policy: ephemeral`.",
        "volumes:\n- {name: v, export: [{session: reports}]}",
        "volumes:\n- {name: v, export: [{to: {session: reports, session_hash: H}, update_policy: ephemeral}]}",
    ),
    "SC5074": Code(
        "a session may do more with a volume",
        "`update_policy` is the most that the importer may choose: with `rollback_protected` it may change the files, "
        "with `no_rollback_protection` it may also do without noticing older states.\n\n"
        "Give the least that its services need.",
        "volumes:\n- {name: v, export: [{to: {session: reports}, update_policy: no_rollback_protection}]}",
        "volumes:\n- {name: v, export: [{to: {session: reports}, update_policy: ephemeral}]}",
    ),
    "SC5075": Code(
        "the key of a file system is written in the session",
        "Whoever may read the session, or its text in a repository, can read and change the files.\n\n"
        "Let the CAS draw the key: leave it out, or refer to a binary secret of 32 bytes.",
        "volumes:\n- {name: v, fspf_key: H, fspf_tag: T}",
        "volumes:\n- {name: v}",
    ),
    "SC5076": Code(
        "the files of a service are not checked, or not from the beginning",
        "`fspf_path` names the description of the protected file system, and `fspf_tag` the state that it begins in. "
        "Without them the program starts with whatever files are there.\n\nKeep both.",
        _SERVICE,
        _SERVICE + "  fspf_path: /fs.fspf\n  fspf_key: $$SCONE::key$$\n  fspf_tag: T",
    ),
    **SECRET_CODES,
}
CODES = {name: code._replace(text=code.text + _WAIVE.format(code=name)) for name, code in _CODES.items()}
