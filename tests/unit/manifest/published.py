"""What published manifests and their schemas have: names of properties by part, and of rows in facts about them."""

from __future__ import annotations

# Kind of manifest -> part -> its properties; those with a ? may be null.
PUBLISHED: dict[str, dict[str, str]] = {
    "genservice": {
        "Build": (
            "binaries command copy? dirs from? fs_dirs fs_files gen_policy? host_paths kind name plain_files "
            "plains pwd? requirements? run signature? stable? to volumes"
        ),
        "Environment": "global? local",
        "GenPolicy": "policy?",
        "GlobalKeyValue": "name value?",
        "GlobalSecret": (
            "application_secret? client_id? common_name? dns? endpoint? export_public? issuer? key_type? "
            "kind migrate? name private_key? size? tenant_id? valid_for? value?"
        ),
        "InjectionFiles": "content? path",
        "KeyValue": "name value",
        "Manifest": "apiVersion build environment injection_files? kind secrets",
        "Secrets": "global import",
        "Signature": "key? sign",
        "Volume": "export import? name path",
        "VolumeExport": "session session_hash? update_policy? volume_alias?",
        "VolumeImport": "session volume",
    },
    "mesh": {
        "Cas": "alias cas_encryption_key? cas_key? cas_url mode? name tolerance?",
        "KeyValue": "name value",
        "Manifest": "apiVersion cas env extra_policies helm_extra_values kind policy repo? services",
        "Mode": "mode? name",
        "Policy": (
            "access_policy_name? attestation_policy_name? image_policy_namespace? maa? namespace "
            "security_policy_name? tolerate?"
        ),
        "Repo": "config_id? destination key_file? push? squash? strip?",
        "Service": "env? helm_chart? image image_policy? image_secrets? name?",
        "ServiceKeyValue": "env service",
    },
}

# Section -> what its table has a row about, separated by semicolons.
ROWS: dict[str, str] = {
    "2.1": (
        "name; kind; to; command; from; pwd; copy; requirements; run; binaries; dirs; fs_dirs; "
        "fs_files; plains; plain_files; host_paths; host_path; volumes; signature; stable; "
        "gen_policy; binarfs.include-new"
    ),
    "2.2": (
        "python; java; java-glibc / java17-glibc; java17; java17-bullseye; java15, java8 (`java 8` "
        "in S text); java21 / java21-ubuntu; sconify_image"
    ),
    "2.4": "local; global",
    "2.7": (
        "name; kind; size; value; key_type; migrate; private_key; issuer; common_name; endpoint; "
        "dns; san; valid_for; export_public; tenant_id, client_id, application_secret"
    ),
    "3.1": "name; alias; cas_url; cas_key; cas_encryption_key; tolerance; mode",
    "3.2": (
        "namespace; tolerate; ignore_advisories; maa; image_policy_namespace; access_policy_name / "
        "attestation_policy_name / security_policy_name"
    ),
    "3.4": "name; image; image_policy; image_secrets; env; helm_chart; helm_extra_values",
}
