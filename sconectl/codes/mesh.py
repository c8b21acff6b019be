"""Codes SC2xxx, what is wrong with the wiring of a mesh."""

from __future__ import annotations

from sconectl.codes.code import Code

CODES: dict[str, Code] = {
    "SC2001": Code(
        "The manifest asks for something that this version cannot do yet",
        "The field is valid, and what follows from it is planned, but nothing would do it when the services run. So "
        "it is a warning of `validate` and `plan`, and of `apply --dry-run` for a mesh; `apply` refuses it with exit "
        "code 4 before any effect: nothing is silently left out. Images of the toolchain sim cannot be "
        "attested by Azure.",
        "cas:\n  - {cas_url: cas.example.org, mode: SignOnline}",
        "cas:\n  - {cas_url: cas.example.org, mode: SignedManifest}",
    ),
    "SC2002": Code(
        "The name of a service is taken or reserved",
        "Sessions, charts and files are called after the services of the mesh, so each has a name of its own. In the "
        "chart upper case and _ cannot stand, so names that differ in these only are the same there. The names "
        "global, helm and namespace have a meaning already. With `renamed_from` a service has the session of its first "
        "name, which no other service can have then.",
        "services:\n  - {name: web, image: a:1}\n  - {name: web, image: b:1}",
        "services:\n  - {name: web, image: a:1}\n  - {name: web-2, image: b:1}",
    ),
    "SC2003": Code(
        "A section of env is for a service that does not exist",
        "`service` of a section is global, helm, or the name of a service of this mesh. The values of any other "
        "section would reach nobody.",
        "env:\n  - {service: wbe, env: [{name: A, value: b}]}",
        "env:\n  - {service: web, env: [{name: A, value: b}]}",
    ),
    "SC2004": Code(
        "A secret cannot be wired",
        "Names of secrets are unique in a mesh: one service defines a secret, others import it by this name. The name"
        " that a service uses or imports has to be defined by some service, by its manifest or by an image_secrets "
        "file of the mesh, and a service that uses the secret of another one has to import it. Services that run the "
        "same image have each a secret of its own, which others cannot import.",
        "secrets:\n  import: [db-pasword]",
        "secrets:\n  import: [db-password]",
    ),
    "SC2005": Code(
        "A variable of a service has no value",
        "The image declares a global variable without a default, so the mesh has to give it a value: in the section "
        "global for all services, or in the section with the name of the service. `sconectl apply -p` lists every "
        "variable with its value and who sets it.",
        "env: []",
        "env:\n  - {service: global, env: [{name: API_USER, value: me}]}",
    ),
    "SC2006": Code(
        "A name in {{…}} has no value",
        "{{name}} is filled in when the mesh is compiled, by a variable of env, a default of an image, or a built-in "
        "name like namespace. The built-in names release and service_name need --release. Text that is meant as it is"
        " stands between {% raw %} and {% endraw %}.",
        "value: https://{{hots}}",
        "value: https://{{host}}",
    ),
    "SC2007": Code(
        "A port is not a port number",
        "APP_SERVICE_PORT, and `ports` of a service or of its manifest, become ports of the Service object, so each is "
        "a whole number from 1 to 65535, also after names like {{port}} are filled in.",
        "- {name: APP_SERVICE_PORT, value: https}",
        "- {name: APP_SERVICE_PORT, value: 443}",
    ),
    "SC2008": Code(
        "Nothing is known of an image",
        "A mesh needs the facts of its images: what they measure, which variables and secrets they have. They come "
        "from --facts, target/images, or the image session in the CAS, and have to belong to the image that has this "
        "name now. Build the image with its service manifest first, or give its facts.",
    ),
    "SC2009": Code(
        "The key of encrypted files is in another CAS",
        "A session imports secrets of its own CAS only, and the key of the encrypted directories is in the image "
        "session. So the roles cas and image have to be played by one CAS, or the image has to do without dirs.",
        "cas:\n  - {name: cas, cas_url: a.example.org}\n  - {name: image, cas_url: b.example.org}",
        "cas:\n  - {name: cas, alias: [image], cas_url: a.example.org}",
    ),
    "SC2010": Code(
        "A field has no effect",
        "The field is valid, but what it says does not matter here, mostly because another field decides about the "
        "same. Remove it, so that nobody relies on it.",
    ),
    "SC2011": Code(
        "Helm values for nobody",
        "A key of helm_extra_values is the name of a service, the name of its image's chart (build.name, also with "
        "-scone behind it), or global for all services. Values below any other key would reach no chart.",
        "helm_extra_values:\n  mariadbb: {replicaCount: 2}",
        "helm_extra_values:\n  mariadb: {replicaCount: 2}",
    ),
    "SC2012": Code(
        "A Helm value that the chart does not know or cannot take",
        "Helm ignores values that no template uses, so a misspelt one would go unnoticed; here it is an error, as is "
        "a value of the wrong type, also one of the variables restartPolicy, useSGXDevPlugin, sgxEpcMem, "
        "INIT_CONTAINER1, INIT_CONTAINER1_ENABLE and INIT_CONTAINER1_PORT (and with 2). README.md of the chart lists "
        "all values. Text without quotes is a number or truth value where YAML says so.",
        "web: {replicas: 2}",
        "web: {replicaCount: 2}",
    ),
    "SC2013": Code(
        "Something unknown is tolerated or ignored",
        "policy.tolerate lists weaknesses of the machine that attestation accepts, and policy.ignore_advisories the "
        "ids of security advisories, both separated by commas. A word that the CAS does not know would tolerate "
        "nothing, and the services would not start.",
        'tolerate: "outdated-tbc"',
        'tolerate: "outdated-tcb"',
    ),
    "SC2014": Code(
        "A policy fragment cannot be used",
        "access_policy_name, attestation_policy_name and security_policy_name name a secret of kind config-fragment "
        "in a session of somebody else, as SESSION/SECRET; that session has to export it to the sessions of the mesh."
        " Beside the access fragment there is no field `access`. If the role is played by another CAS, its cas_key has"
        " to be known.",
        "access_policy_name: access",
        "access_policy_name: security/policies/access",
    ),
    "SC2015": Code(
        "A session template cannot be used",
        "The file of image_policy is a session, or sections of one, which are laid over what would be written: "
        "mappings key by key, entries of lists by their name. Its name has to be that of the service's session, and "
        "creator and predecessor come with the upload.",
        "service: [{name: main}]",
        "services: [{name: main}]",
    ),
    "SC2016": Code(
        "A chart of your own cannot be used",
        "helm_chart names the directory of a Helm chart: Chart.yaml (apiVersion v2, a name and a version), templates,"
        " and values.yaml or values.yaml.template. {{name}} is filled in in files that end in .template only. A folder "
        "of upstream's has values.template, in Tera, and the rest of the chart in charts/. The chart is called like "
        "the service, whatever its own name is.",
    ),
    "SC2017": Code(
        "The sessions cannot be shipped in this mode",
        "Signed sessions can be read by everybody who sees the chart, so they must not hold the value of a secret: "
        "let the CAS generate it, or encrypt the sessions. Sessions are encrypted with the public key of the CAS, 64 "
        "hex digits, which `sconectl cas show-identification --session-encryption-key CAS` prints.",
        "mode: SignedManifest   # and a secret with an explicit value",
        "mode: EncryptedManifest",
    ),
    "SC2018": Code(
        "A volume cannot be shared",
        "A volume that is imported from a service of the mesh has to be exported by that service, under the name that"
        " the import uses. What image_policy mounts has to be in build.volumes of the image, with the same path. "
        "Where a volume names a session, the name of a "
        "service of the mesh stands for the session of that service.",
        "import: {session: database, volume: dta}",
        "import: {session: database, volume: data}",
    ),
    "SC2019": Code(
        "A mode reveals what is in the sessions",
        "In mode SignedManifest the chart holds the sessions in clear text: commands, variables and injected files "
        "can be read by everybody who sees the chart or the cluster's objects. Secrets that the CAS generates are not"
        " in it. Mode EncryptedManifest hides everything from all but the CAS.",
        "mode: SignedManifest",
        "mode: EncryptedManifest",
    ),
    "SC2020": Code(
        "A chart cannot become manifests",
        "With -o yaml sconectl writes the objects of its own chart. A chart of yours (helm_chart) is a set of "
        "templates that only Helm can render.",
    ),
    "SC2021": Code(
        "A value is made from itself, or without end",
        "Values of env may use {{names}}, and each is filled in completely before it is used anywhere. So no value may "
        "lead back to itself, and names may bring at most a mebibyte of text into a value.",
        '- {name: HOST, value: "{{ADDRESS}}"}\n- {name: ADDRESS, value: "{{HOST}}:80"}',
        '- {name: HOST, value: db}\n- {name: ADDRESS, value: "{{HOST}}:80"}',
    ),
    "SC2022": Code(
        "A secret that is in use would be lost",
        "The CAS has a value for this secret, and somebody may have it: a service, another session, everybody. "
        "With the new version of the session the value would be drawn anew or be gone. What was encrypted with it "
        "cannot be read any more, and peers that know it fail until they are restarted.\n\n"
        "A generated value is kept while kind and size (of private keys: key_type) are the same and the secret "
        "stays in the same session. So restore these, or the `value` that was given before. If the loss is meant, "
        "name the secret: `--allow-secret-loss NAME`, or `SERVICE/NAME` for that of one service. `sconectl plan` "
        "shows the fate of every secret, and `plan --fail-on secret-loss` refuses a change in a pull request.",
        "- name: password\n  kind: ascii\n  size: 32       # the CAS has one of 20 characters",
        "- name: password\n  kind: ascii\n  size: 20",
    ),
    "SC2023": Code(
        "The lock does not say what the manifests say",
        "`sconectl.lock` records what was applied: the digest of each manifest, and the images, sessions and chart "
        "that came of it. `sconectl lock --check` found a manifest that has changed since, or that never was applied. "
        "Apply it, and commit the lock together with the manifest.",
    ),
    "SC2024": Code(
        "Old and new pods cannot both start",
        "A rolling update keeps, in the session of a service, what the pods of the old version get, beside what the "
        "new ones get. Secrets, volumes and the section security are the same for both. So a secret that the old "
        "version uses keeps kind, size, key type and given value, and where it comes from; a volume keeps its terms; "
        "and the attestation does not get stricter. What has to change gets another name in the new version.\n\n"
        "A release number is not lower than that of the version in the CAS. `--finish` needs the manifests that were "
        "applied last: it takes away the old version, and changes nothing else. Sessions that are not uploaded by "
        "`apply` (modes SignedManifest, EncryptedManifest, EncryptedOnly) hold one version.",
        "- name: token     # the CAS has one of 20 characters, and old pods use it\n  kind: ascii\n  size: 32",
        "- name: token-v2\n  kind: ascii\n  size: 32",
    ),
    "SC2025": Code(
        "A rollout is not finished",
        "The session of the service holds two versions, because it was applied with --rolling, with "
        "--release-version, or with an image that has a `stable` version. Until `sconectl apply --finish`, the "
        "program of the old version gets its secrets whenever it is started. Finish when no old pod is left: with the "
        "same manifests, which changes neither the chart nor a running pod. The next rolling update takes the old "
        "version away, too.",
    ),
    "SC2026": Code(
        "A session is left behind",
        "A service was renamed or taken out of the mesh. Its session stays in the CAS: the program that it names still "
        "starts and gets its secrets, and other sessions still import from it. The lock says that applying this mesh "
        "wrote the session.\n\n"
        "When nothing uses it any more, `sconectl apply --prune` retires it: it then gives nothing to anybody. Values "
        "that the CAS made stay in it, for nobody, so that an older version can be put back "
        "(`sconectl session history`). A session that was changed since, or that the lock does not know, is retired "
        "only by name, with --prune-session: in a shared namespace it may belong to another mesh.\n\n"
        "A service with a new name is a new service: the CAS makes new values for it. With `renamed_from` it keeps its "
        "session, and with it the values. `sconectl plan --fail-on orphans` refuses a change that leaves a session "
        "behind, unless it is given --prune, too.",
        "services:\n  - name: front     # it was called web\n    image: registry.example.org/web:1",
        "services:\n  - name: front\n    renamed_from: web\n    image: registry.example.org/web:1",
    ),
    "SC2027": Code(
        "An image is signed by somebody else",
        "`signer` of a service says whose signature its image has to have, and [trust] signers in sconectl.toml whose "
        "public declarations are believed. This image has that of somebody else, or none: it may have been exchanged "
        "in the registry. `sconectl inspect IMAGE` shows who signed it.",
        "services:\n  - {name: web, image: web:1, signer: 9b4f…}",
        "services:\n  - {name: web, image: web:1, signer: 5c01…}",
    ),
    "SC2028": Code(
        "An image is known by its own words only",
        "Neither target/images nor the CAS of the mesh knows the image, and it declares itself what it is. The "
        "declaration is signed, but nothing says that this signer is the right one: whoever may push to the "
        "registry could have put another image, and another signer, in the place. Once the signer is named, "
        "another one is refused.",
        "services:\n  - {name: web, image: web:1}",
        "services:\n  - {name: web, image: web:1, signer: 9b4f…}",
    ),
    "SC2030": Code(
        "A value leads to a port or a service that is not there",
        "A service is reached at RELEASE-SERVICE, at the ports that `sconectl plan` shows for it. This value names a "
        "host of the release that no service has, or a port that the service does not offer, so the client would get "
        "no connection. The port is the one behind the host, or in the variable that belongs to it: REDIS_PORT beside "
        "REDIS_HOST, database_port beside database_host.\n\n"
        "Correct the value. If the program does listen there, say so: `ports` of the service in the mesh, or "
        "`build.ports` of its manifest. docs/chart.md says where ports come from otherwise.",
        "- {name: REDIS_HOST, value: $RELEASE-redis}\n- {name: REDIS_PORT, value: 6380}   # redis listens at 6379",
        "- {name: REDIS_HOST, value: $RELEASE-redis}\n- {name: REDIS_PORT, value: 6379}",
    ),
    "SC2032": Code(
        "Two copies of images have the same name",
        "`repo` copies each image of the mesh to its destination, with the last part of its name and its tag. Images "
        "of two repositories that are called the same there would replace each other.",
        "repo: {destination: example.org/shop}\nservices:\n  - {name: a, image: one/web:1}\n"
        "  - {name: b, image: two/web:1}",
        "repo: {destination: example.org/shop}\nservices:\n  - {name: a, image: one/web:1}\n"
        "  - {name: b, image: two/web:2}",
    ),
    "SC2033": Code(
        "A certificate may end while programs use it",
        "The CAS makes a certificate anew when a third of its `valid_for` is left, and the launcher then writes the "
        "files with it again. Most programs read them only when they start: `build.reload` says how the program is "
        "told, by a signal or a command, or that it sees new files by itself (`{}`). Without it, and where a variable "
        "or an argument holds the certificate, the program has to be started again at least every third of "
        "`valid_for`. It is a warning for less than 30 days.\n\n"
        "Give `build.reload`, and certificates in `injection_files`, also for services that import them. Or leave "
        "valid_for out: then the certificate lasts practically for ever.",
        "secrets:\n  global:\n    - {name: web, kind: x509, private_key: web_key, valid_for: 1 day}",
        "build:\n  reload: {signal: SIGHUP}\nsecrets:\n  global:\n"
        "    - {name: web, kind: x509, private_key: web_key, valid_for: 1 day}",
    ),
}
