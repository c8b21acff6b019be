"""Codes SC1xxx, what is wrong with a manifest."""

from __future__ import annotations

from sconectl.codes.code import Code

CODES: dict[str, Code] = {
    "SC1001": Code(
        "The text is not YAML that can be read",
        "The file is too large, not UTF-8, not YAML, or uses a part of YAML that could be read in two ways: a key that "
        "is given twice, a merge key (<<), a tag, nesting without end. Nothing in the file is looked at before that is "
        "corrected. The most frequent reason is a value with a special character: {{name}} without quotes is a mapping "
        "for YAML, and a colon with a blank behind it begins a new one.",
        "value: {{name}}",
        'value: "{{name}}"\n',
    ),
    "SC1002": Code(
        "A field is unknown, is missing, or has a value that it cannot have",
        "Every field is checked against the description of the manifest, which `sconectl explain KIND.FIELD` prints. "
        "A field that nobody knows is an error and not ignored, since what it was meant for would not happen: a "
        "misspelt `host_paths` leaves paths protected that the program cannot use then. Values are taken as they are "
        "written; a field with a few possible values takes exactly those, in the given case. Flags are true or false.",
        "build:\n  knd: python\n  copy: main.py",
        "build:\n  kind: python\n  copy:\n    - main.py",
    ),
    "SC1003": Code(
        "A variable has no value",
        "$NAME, ${NAME} and ${NAME:-default} are filled in before a manifest is read, from --set and "
        "--env-file, and from the environment if the name of the file ends with .template. One without a "
        "value is an error wherever it stands, and so is one that is empty in the value of a secret: a "
        "service would be given the text `$NAME`, or nothing, in the place of its secret. For a `$` that is "
        "meant as it is, write `$$NAME` or `$${`; a `$` in front of anything but a letter, _ or { needs "
        "nothing, and $$SCONE::name$$ stays as it is. In `run`, and in a command that begins with a shell, "
        "`$NAME` may be meant for the shell: there it stays, with a warning.\n\nIn session files `$NAME` comes "
        "from -e and --use-env, and `$$NAME` is the text. In files that a mesh names (image_secrets, "
        "image_policy, env of a service) nothing fills in `$NAME`; write {{NAME}} there.",
        "value: $PAYMENT_API_KEY   # applied without --env-file",
        "value: ${PAYMENT_API_KEY:?}   # and: --env-file secrets.env\nvalue: costs 5$$EUR   # the text: costs 5$EUR",
    ),
    "SC1004": Code(
        "Parts of a service manifest do not fit together",
        "Each part is valid by itself, but together they cannot be meant: a path in two classes of protection, a "
        "program that would not be protected, a variable that is given twice, fields that the kind does not have, a "
        "parameter of the enclave without a valid size. What would hold in the running service would not be what one "
        "of the places says, so that no image is built.",
        "dirs: [/app/data]\nplains: [/app/data]",
        "dirs: [/app/data]",
    ),
    "SC1005": Code(
        "A file that the manifest names cannot be used",
        "Paths in a manifest are relative to the directory of the manifest, and have to stay in it, links included: a "
        "manifest from somebody else must not read your files. The file has to exist and be of the expected kind; a "
        "pattern has to match something that .dockerignore leaves. A signing key is RSA with 3072 bits and exponent 3.",
        "copy: [src/app.py]   # there is only app.py",
        "copy: [app.py]",
    ),
    "SC1006": Code(
        "A placeholder for a secret cannot be filled in",
        "$$SCONE::name$$ is replaced by the CAS when the service starts. The name has to be a secret that the manifest "
        "defines or imports, and the format behind it has to be one that the kind of the secret has: hex and base64 "
        "are for binary secrets, crt, chain and privatekey for certificates. A secret that is not known yet is a "
        "warning only, since the mesh may bring it with image_secrets.",
        "value: $$SCONE::pasword:hex$$",
        "value: $$SCONE::password$$",
    ),
    "SC1007": Code(
        "The tolerance of a CAS has flags that nobody knows",
        "`tolerance` takes the flags of `sconectl cas attest`, also those of the list in `policy.tolerate` with -- in "
        "front. An unknown flag is refused: it may be a misspelt one that demands something.",
        "tolerance: --outdatedtcb",
        "tolerance: --outdated-tcb",
    ),
    "SC1008": Code(
        "The manifest does not fit the files of the image",
        "A path is not in the image that the build begins with, is a link or a directory where a file is expected, or "
        "is something that cannot be protected: a device, a FIFO, a hard link between two classes of protection, a "
        "volume that the image declares. An encrypted volume is where the image has a link or a file. Programs with "
        "the rights of another user (setuid) are a warning.",
        "binaries: [/usr/bin/pyton3]",
        "binaries: [/usr/bin/python3]",
    ),
    "SC1009": Code(
        "The session template cannot be used",
        "The template of --template has a variable that is not known, is no mapping, has another name than the "
        "session, or gives a session that the rules of the session language refuse.",
        "name: web",
        "name: $NAMESPACE/$SESSION",
    ),
    "SC1010": Code(
        "A parameter of the enclave is unusual",
        "Enclaves are known to work with a heap from 8M to 60G, and with the usual numbers of threads. With other "
        "values an enclave may not start on hardware, or waste memory. The simulation measures these values and "
        "enforces none.",
        "- name: SCONE_HEAP\n  value: 4M",
        "- name: SCONE_HEAP\n  value: 64M",
    ),
    "SC1011": Code(
        "The trace is not a log of strace",
        "--trace takes what `strace -f` wrote while the program was running. From it follows which files the program "
        "opens, and which of them are not protected.",
    ),
    "SC1012": Code(
        "An older spelling",
        "The manifest is read as it was meant, and the message shows how to write it today. Older spellings come from "
        "earlier versions of the format: kind genAppImage, variables with `key:`, variables of a mesh without "
        "sections, `requirements` and `env` at the top level of a service, `host_path`, `helm` with "
        "assignments, `java 8` with a blank.",
        "env:\n  - key: API_USER\n    value: myself",
        "env:\n  - service: global\n    env:\n      - name: API_USER\n        value: myself",
    ),
    "SC1013": Code(
        "Fields do not go together",
        "Each field is valid by itself, but not beside the others: a volume that is imported cannot be exported, host "
        "names are for certificates of servers, a certificate needs a private key, an aad-token exactly one "
        "credential. The CAS would refuse a session with them.",
        "- name: web\n  kind: x509",
        "- name: web-key\n  kind: private-key\n- name: web\n  kind: x509\n  private_key: web-key",
    ),
    "SC1014": Code(
        "A line in a file of variables cannot be read",
        "Files of --env-file are read as Docker Compose reads them: lines NAME=VALUE (or NAME: VALUE), "
        "`export` in front, comments behind a space and #. Values in single quotes are taken as they are, "
        "over several lines, too; \\' is a quote. In double quotes, \\n, \\t, \\\\, \\\" and \\$ are escapes. Without"
        " quotes and in double quotes, $NAME and ${NAME:-default} are filled in from --set, from the lines "
        "above, from the files before, and then from the environment; $$ is a $. A line NAME alone takes the "
        "value from the environment. Where Compose takes an empty text for what has no value, this is an "
        "error: it may be a secret.",
        "PASSWORD=pa$word",
        "PASSWORD='pa$word'",
    ),
    "SC1015": Code(
        "Text that is nearly a placeholder",
        "The text is one or two slips away from $$SCONE::name$$, or a {{name}} that lacks a brace. It is neither, so "
        "the program would be given the text itself in the place of a secret or a value. If it is meant as it is, "
        "put it between {% raw %} and {% endraw %}.",
        "value: $$SCONE:password$$",
        "value: $$SCONE::password$$",
    ),
    "SC1016": Code(
        "A private value in an image that is to be public",
        "With `public: true`, an image declares for everybody to read what a mesh has to know of it, so that a mesh "
        "elsewhere, with another CAS, can use it. That leaves no room for values that only you know: given values of "
        "secrets and tokens, values of local variables (unless they only refer to secrets or names, are parameters "
        "SCONE_…, or say `public: true` themselves), texts with a $NAME that was given on this machine, and what looks "
        "like a credential. Nothing is left out silently: without one of these, the program could not run elsewhere.",
        "build:\n  public: true\nenvironment:\n  local:\n    - {name: LOG_LEVEL, value: info}",
        "build:\n  public: true\nenvironment:\n  local:\n    - {name: LOG_LEVEL, value: info, public: true}",
    ),
    "SC1045": Code(
        "A template expression that is not supported",
        'In values, {{name}} and {{name | default(value="…")}} are filled in when the mesh is compiled, and '
        "{% raw %}…{% endraw %} is left as it is. Other filters, statements and comments of template languages are "
        "not: nobody would fill them in, and the program would get the expression instead of a value.",
        'value: "{{ API_USER | upper }}"\n',
        'value: "{{ API_USER | default(value=\\"nobody\\") }}"\n',
    ),
    "SC1046": Code(
        "A name that is probably misspelt",
        "{{name}} may be any name that the mesh gives a value, so that an unknown one is not wrong. This one is much "
        "like a variable that the manifest declares, or like a built-in name, and is neither. If it is meant, declare "
        "it in environment.global: then the mesh has to give it a value.",
        'value: "{{API_USR}}"',
        'value: "{{API_USER}}"',
    ),
    "SC1050": Code(
        "Two manifests of one run make the same thing",
        "Several manifests can be applied together. Two services with the same name or the same image would overwrite "
        "each other, and so would two meshes in one target directory.",
        "build:\n  name: web\n---\nbuild:\n  name: web",
        "build:\n  name: web\n---\nbuild:\n  name: reports",
    ),
}
