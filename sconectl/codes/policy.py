"""Codes SC3xxx, what is wrong with a session: its form, names, services, attestation, access. Secrets: next door."""

from __future__ import annotations

from sconectl.codes.code import Code
from sconectl.codes.policy_secrets import CODES as SECRET_CODES

CODES: dict[str, Code] = {
    "SC3001": Code(
        "A part of the session has another form than expected",
        "A mapping, a list, text or a value of a certain form is expected here: the message says which. Values are"
        " taken as written; put text in quotes if YAML gives it another meaning.",
        "services: {name: app, attestation: {mrenclave: H}}",
        "services:\n- {name: app, attestation: {mrenclave: H}}",
    ),
    "SC3002": Code(
        "A name is used twice",
        "Names are unique among the services, secrets, volumes or images of a session, and paths among the files of"
        " an image. Names of secrets also hold no blank and none of $ : | /, which mean something in references.",
        "secrets:\n- {name: key, kind: ascii}\n- {name: key, kind: binary}",
        "secrets:\n- {name: key, kind: ascii}\n- {name: other-key, kind: binary}",
    ),
    "SC3003": Code(
        "A key that the session language does not have",
        "Unknown keys are refused, because a misspelt restriction that is ignored does not restrict anything.",
        "access_polcy: {read: CREATOR}",
        "access_policy: {read: CREATOR}",
    ),
    "SC3011": Code(
        "The session has no name",
        "Every session has a name; a service asks for its configuration by it.",
        "",
        "name: my-namespace/app",
    ),
    "SC3012": Code(
        "A character that names cannot have",
        "Names of sessions consist of parts separated by /, of letters, digits and - _ . ~.",
        'name: "my session"',
        "name: my-session",
    ),
    "SC3013": Code(
        "A name that is too long", "Each part of a name has a limited length, and so has the whole. Shorten it."
    ),
    "SC3014": Code(
        "A name with an empty part, or one that leads nowhere",
        "Parts of a name are not empty and not . or .., and a relative name must not lead above the root namespace.",
        "name: my-namespace//app",
        "name: my-namespace/app",
    ),
    "SC3021": Code(
        "The version of the session language is missing or unknown",
        "`version` says how the session is to be read. Sessions of older languages are brought to the present one with"
        " `sconectl session upgrade FILE`.",
        'version: "0.9"',
        'version: "0.3.10"',
    ),
    "SC3022": Code(
        "The session uses something that its version does not have yet",
        "A CAS that knows this version only would refuse it or ignore what is newer. Declare the version that the"
        " message names, or do without.",
    ),
    "SC3026": Code(
        "A hash of a session has another form",
        "predecessor, namespace_hash and session_hash are the 64 hex digits that `sconectl session calculate-hash`"
        " prints.",
    ),
    "SC3027": Code(
        "predecessor and namespace_hash at once",
        "predecessor replaces a session that exists; namespace_hash is for one that does not exist yet. Keep one.",
    ),
    "SC3028": Code("The salt has another form", "The salt is 32 hex digits, for example from `openssl rand -hex 16`."),
    "SC3031": Code(
        "A service without a usable name",
        "Services have names of letters, digits and - _ . ~, because programs ask for SESSION/SERVICE.",
        "services:\n- {command: app, attestation: {mrenclave: H}}",
        "services:\n- {name: app, command: app, attestation: {mrenclave: H}}",
    ),
    "SC3032": Code(
        "Something that cannot be passed to a program",
        "Command, variables and paths hold no NUL character, quotes in the command are closed, and paths are absolute"
        " without `..`.",
    ),
    "SC3033": Code(
        "A name of a variable that no program can see",
        "Names of variables are not empty and hold no =.",
        'services:\n- {name: app, attestation: {mrenclave: H}, environment: {"A=B": x}}',
        "services:\n- {name: app, attestation: {mrenclave: H}, environment: {A: B=x}}",
    ),
    "SC3034": Code(
        "The image of a service is not declared",
        "image_name refers to an entry of `images`, which brings injected files and volumes.",
        "services:\n- {name: app, image_name: web, attestation: {mrenclave: H}}",
        "services:\n- {name: app, image_name: web, attestation: {mrenclave: H}}\nimages:\n- {name: web}",
    ),
    "SC3035": Code(
        "Key, tag or update policy of encrypted files has another form",
        "fspf_key is 64 hex digits or a reference to a secret, fspf_tag 32 hex digits; the update policies are named"
        " in the message.",
    ),
    "SC3036": Code(
        "Path, key and tag of encrypted files do not come together",
        "Encrypted files are opened with a key and checked with a tag, so a path needs both, and they need the path.",
    ),
    "SC3037": Code(
        "A host argument is used twice, or counts from 0",
        "@@1, @@2, … stand for arguments of whoever starts the program; each may be used once.",
    ),
    "SC3041": Code(
        "A service that any program could be",
        "Without a measurement or a signer, attestation says nothing. Name mrenclave (H is a measurement), or signer.",
        "services:\n- {name: app, command: app}",
        "services:\n- {name: app, command: app, attestation: {mrenclave: H}}",
    ),
    "SC3042": Code("A measurement has another form", "mrenclave and mrsigner are 64 hex digits."),
    "SC3043": Code(
        "A signer that is not described completely",
        "mrsigner says who signed, isvprodid which product; without it any program of the signer would do.",
    ),
    "SC3044": Code("Two ways to name security versions", "Give isvsvn, or isvsvn_min and isvsvn_max, but not both."),
    "SC3045": Code(
        "Security versions that nothing can have", "They are numbers from 0 to 65535, and min is not above max."
    ),
    "SC3046": Code(
        "A platform has another form",
        "Platforms are INTEL_QE_ID: and 32 hex digits, or a reference. The old form without prefix matches nothing.",
    ),
    "SC3086": Code(
        "ANY or NONE beside others",
        "They say everything by themselves; with others beside them it is not clear what was meant.",
        "access_policy: {update: [ANY, CREATOR]}",
        "access_policy: {update: CREATOR}",
    ),
    "SC3087": Code(
        "A signer is to read",
        "Reading and listing are allowed to who connects; a signer signs updates only.",
    ),
    "SC3088": Code(
        "A governance rule for reading",
        "require-all, require-any and require-at-least collect signatures, which only updates have.",
    ),
    "SC3089": Code(
        "A governance rule that cannot be met", "It lists at least one principal, and asks for no more than it lists."
    ),
    "SC3090": Code(
        "Not somebody who can be allowed something",
        "Allowed are CREATOR, ANY, NONE, certificates, key hashes, references, signers and governance rules.",
        "access_policy: {read: alice}",
        "access_policy: {read: CREATOR}",
    ),
    "SC3091": Code(
        "The attestation mode and what belongs to it",
        "The mode is hardware, simulation, none or maa; maa needs the address of its provider.",
        "security: {attestation: {mode: maa}}",
        "security: {attestation: {mode: hardware}}",
    ),
    "SC3092": Code(
        "Mode maa without tolerating its platform state",
        "The provider decides about the platform, so maa-managed-tcb has to be tolerated expressly.",
    ),
    "SC3093": Code(
        "Something unknown is tolerated",
        "What may be tolerated is listed in the message. Leave it out if unsure.",
        "security: {attestation: {tolerate: [debug]}}",
        "security: {attestation: {tolerate: [debug-mode]}}",
    ),
    "SC3094": Code(
        "Advisories are ignored without their category",
        "An advisory is ignored by its id, and only together with a tolerated category like outdated-tcb."
        ' "*" ignores those of tomorrow, too.',
    ),
    "SC3095": Code(
        "Local attestation that cannot work",
        "It needs the mode hardware, and its toleration, because the platform is not looked at.",
    ),
    "SC3096": Code(
        "A one-time password with an unusable secret",
        "The shared secret is base32 of at least 16 bytes, or a reference to a secret that gives that.",
    ),
    "SC3098": Code(
        "Where secrets are stored is not described completely",
        "store_in is !cas, or !akv with a token and the address of a vault.",
        "secret_config: {store_in: cas}",
        "secret_config: {store_in: !cas }",
    ),
    **SECRET_CODES,
}
