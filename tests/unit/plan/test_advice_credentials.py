"""What looks like a credential, and what only looks so at first sight."""

from __future__ import annotations

import pytest

from sconectl.plan.advice.credentials import credential, known_form

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ0ZXN0In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("DB_PASSWORD", "hunter2", "a password"),
        ("dbPassword", "hunter2", "a password"),
        ("xpassword", "#NOPE!", "a password"),
        ("MYSQL_ROOT_PASSWORD", "changeme", "a password"),
        ("PASSWORD2", "correct horse battery", "a password"),
        ("REDIS_PASSWORD", "123456", "a password"),
        ("SSH_PASSPHRASE", "open-sesame", "a password"),
        ("CLIENT_SECRET", "swordfish", "a credential"),
        ("api-token", "s3cr3t", "a credential"),
        ("API_KEY", "9f8a7b6c5d4e3f2a1b0c", "a credential"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a credential"),
        ("DB_PASS", "Tr0ub4dor&3", "a credential"),
        ("HMAC_KEY_CURRENT", "9f8a7b6c5d4e3f2a1b0c", "a credential"),
        ("X", "AKIAIOSFODNN7EXAMPLE", "an access key of AWS"),
        ("X", "ghp_" + "a1B2" * 9, "a token of GitHub"),
        ("X", "glpat-" + "a1B2" * 5, "a token of GitLab"),
        ("X", "xoxb-1234567890-abc", "a token of Slack"),
        ("X", JWT, "a JSON web token"),
        ("HEADER", "Bearer abcdef0123456789", "an authorization header"),
        ("DB", "postgres://app:hunter2@db:5432/app", "a URL with a password"),
        ("CACHE_URL", "redis://:hunter2@cache", "a URL with a password"),
        ("DB", "Server=db;User=sa;Password=hunter2;", "a connection string with a password"),
        ("SQL", "GRANT ALL ON *.* TO 'root'@'%' IDENTIFIED BY 'hunter2';", "an SQL statement with a password"),
        ("X", "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n", "a private key"),
    ],
)
def test_credentials(name: str, value: str, kind: str) -> None:
    assert credential(name, value) == kind


@pytest.mark.parametrize("name", ["DB_PASSWORD", "API_TOKEN", "CLIENT_SECRET", "api_key", "DB_PASS", "AUTH"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "$$SCONE::password$$",
        "prefix-$$SCONE::password:hex$$",
        "{{db_password}}",
        "$DB_PASSWORD",
        "${DB_PASSWORD:-none}",
        "true",
        "False",
        "none",
        "required",
        "8080",
        "3.5",
        "12",
        "30s",
        "10Mi",
        "/run/secrets/password",
        "./password",
        "../secrets",
        "~/.netrc",
        "password.txt",
        "server.key",
        "vault.example.org",
        "vault.example.org:8200",
        "https://vault.example.org/v1/secret",
        "postgres://app:{{db_password}}@db/app",
        "postgres://app:$$SCONE::password$$@db/app",
        "postgres://app:$DB_PASSWORD@db/app",
        "Password={{db_password}};User=sa",
        "DATABASE_PASSWORD",
        "<your password>",
        "********",
    ],
)
def test_what_only_refers_to_a_credential(name: str, value: str) -> None:
    assert credential(name, value) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_USER", "myself"),
        ("EXCLAIM", "!#what!$#"),
        ("imagePullSecrets", "sconeapps"),
        ("imagePullSecret", "regcred"),
        ("TLS_SECRET", "web-tls"),
        ("GRAFANA_SECRET", "grafana-admin"),
        ("PASSWORD_MIN_LENGTH", "eight"),
        ("PASSWORD_HASHER", "argon2id"),
        ("TOKEN_TYPE", "bearer"),
        ("TOKENIZER", "bert-base-uncased-v2"),
        ("MAX_TOKENS", "many"),
        ("KEYBOARD", "qwertz-layout-105"),
        ("CAS_KEY", "46YyxrywJ8PFRruWX8YLxa9q4axxYJgTbA81tv7NBcJfn43DQt"),
        ("PUBLIC_KEY", "46YyxrywJ8PFRruWX8YLxa9q4axxYJgTbA81tv7NBcJfn43DQt"),
        ("KEY_ID", "9f8a7b6c5d4e3f2a1b0c"),
        ("API_KEY_HASH", "9f8a7b6c5d4e3f2a1b0c"),
        ("COMMIT", "9f8a7b6c5d4e3f2a1b0c9f8a7b6c5d4e3f2a1b0c"),
        ("REQUEST_ID", "123e4567-e89b-12d3-a456-426614174000"),
        ("SORT_KEY", "created-at"),
        ("KEY_PREFIX", "shop-cache-entries"),
        ("IMAGE", "python:3.12-slim-bookworm"),
        ("URL", "https://example.org/a:b@c"),
        ("GREETING", "Hello, basic people of the world"),
        ("SQL", "GRANT ALL TO 'root'@'%' IDENTIFIED BY '$$SCONE::MYSQL_ROOT_PASSWORD$$';"),
        ("CERT", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        ("PUB", "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"),
    ],
)
def test_values_that_are_none(name: str, value: str) -> None:
    assert credential(name, value) == ""


def test_a_form_is_found_in_longer_texts() -> None:
    assert known_form("set -e\ncurl -H 'Authorization: Bearer abcdef0123456789' https://x") == "an authorization header"
    assert known_form("url = https://{{user}}:{{password}}@x # then postgres://a:hunter2@b") == "a URL with a password"
    assert known_form("pip install -r requirements.txt && echo password=$PASSWORD done") == ""


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "a:/" * 20_000, "https://" * 9_000, "eyJ" * 20_000, "password=" * 6_000]
)
def test_long_texts_take_no_time(text: str) -> None:
    import time

    start = time.process_time()
    known_form(text)
    credential("SOME_KEY", text)
    assert time.process_time() - start < 1
