"""A user who goes on making accounts and documents, and reads them; passwords and documents stay out of the log."""

from __future__ import annotations

import logging
import os
import secrets
import string
import time

import requests

DOCUMENTS, PAUSE, AFTER_LIMIT = 20, 2, 70

log = logging.getLogger("client")


def letters() -> str:
    return "".join(secrets.choice(string.ascii_letters) for _ in range(15))


def address() -> str:
    log.info('Getting env var "NGINX_ADDR"')
    return f"https://{os.environ['NGINX_ADDR']}"


def wait_until_reachable(server: str) -> None:
    while True:
        try:
            requests.get(f"{server}/documents/1", timeout=10)
        except requests.exceptions.SSLError as error:
            raise SystemExit(f"this is another server: {error}") from None
        except requests.RequestException:
            log.info("NGINX not available yet. Will try again in 10 seconds...")
            time.sleep(10)
        else:
            return


def ask(session: requests.Session, method: str, url: str, **more: object) -> requests.Response:
    """Send a request; wait when the rate limit says so, or when nobody answers."""
    while True:
        try:
            answer = session.request(method, url, timeout=30, **more)  # type: ignore[arg-type]
        except requests.exceptions.SSLError as error:
            raise SystemExit(f"this is another server: {error}") from None
        except requests.RequestException as error:
            log.info("no answer: %s", type(error).__name__)
            time.sleep(PAUSE)
            continue
        if answer.status_code == 429:
            log.info("ouch! rate limit caught us. Retrying in %d seconds...", AFTER_LIMIT)
            time.sleep(AFTER_LIMIT)
        elif answer.status_code >= 500:
            log.info("not available: status_code=%d", answer.status_code)
            time.sleep(PAUSE)
        else:
            return answer


def execution(server: str) -> None:
    with requests.Session() as session:
        session.auth = (letters(), letters())
        created = ask(session, "GET", f"{server}/users/create_account")
        if created.status_code != 201:
            log.info("could not create user account: status_code=%d", created.status_code)
            return
        log.info("New user: %s", session.auth[0])
        log.info("Creating documents")
        written = [letters() for _ in range(DOCUMENTS)]
        for number, content in enumerate(written):
            url, body = f"{server}/documents/create_document", {"record_id": number, "content": content}
            log.info("document %d: status_code=%d", number, ask(session, "POST", url, json=body).status_code)
            time.sleep(PAUSE)
        log.info("Reading written documents")
        for number, content in enumerate(written):
            answer = ask(session, "GET", f"{server}/documents/{number}")
            if answer.status_code != 200 or answer.json()["content"] != content:
                raise SystemExit(f"document {number} is not what was written: status_code={answer.status_code}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    server = address()
    wait_until_reachable(server)
    number = 0
    while True:
        execution(server)
        number += 1
        log.info("Finished execution number %d", number)
