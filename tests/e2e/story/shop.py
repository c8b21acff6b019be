"""A shop as its people write it: nginx before a program of their own, and redis behind that, all with mutual TLS.

In: what the manifests say, as a frozen value; a change of the story is another one. Out: the files.

Each service finds each of its secrets in a file `/secrets/NAME`. `store` is the authority of the mesh, and issues the
certificates of all services.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMESPACE = "shop"
RELEASE = "shop"
SECRETS = "/secrets"

API = """
import http.server, json, os, signal, socket, ssl
from pathlib import Path

RELEASE = "@release@"
CERTIFICATE = "/secrets/api_cert", "/secrets/api_key"


def ask_store(*commands):
    "Return what the store answers, over mutual TLS."
    host, port = os.environ["STORE_ADDRESS"].split(":")
    context = ssl.create_default_context(cafile="/secrets/ca")
    context.load_cert_chain(*CERTIFICATE)
    with socket.create_connection((host, int(port)), 10) as raw:
        with context.wrap_socket(raw, server_hostname="store.shop") as stream:
            answers = stream.makefile("rb")
            for command in commands:
                stream.sendall(command.encode() + b"\\r\\n")
            return [answers.readline().decode().strip() for _ in commands]


class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/ping":
            password = Path("/secrets/store_password").read_bytes().hex()
            answer = ask_store("AUTH " + password, "PING")
        else:
            token = Path("/secrets/token").stat().st_size
            answer = {"release": RELEASE, "greeting": os.environ["GREETING"], "token size": token}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *words):
        pass


def stop(*_):
    raise SystemExit


server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Api)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="/secrets/ca")
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain(*CERTIFICATE)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
signal.signal(signal.SIGTERM, stop)
print("listening", flush=True)
server.serve_forever()
"""

NGINX = """
user www-data;
worker_processes 1;
error_log stderr notice;
pid /run/nginx.pid;
events { worker_connections 64; }
http {
    access_log off;
    proxy_temp_path /var/cache/nginx/proxy;
    client_body_temp_path /var/cache/nginx/body;
    server {
        listen 8443 ssl;
        ssl_certificate /secrets/web_cert;
        ssl_certificate_key /secrets/web_key;
        location / {
            proxy_pass https://{{API_ADDRESS}};
            proxy_ssl_name api.shop;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate /secrets/ca;
            proxy_ssl_certificate /secrets/web_cert;
            proxy_ssl_certificate_key /secrets/web_key;
        }
    }
}
"""

REDIS = """
port 0
tls-port 6379
tls-auth-clients yes
tls-cert-file /secrets/store_cert
tls-key-file /secrets/store_key
tls-ca-cert-file /secrets/ca
aclfile /shop/users.acl
bind 0.0.0.0
dir /data
save ""
"""


@dataclass(frozen=True)
class Addresses:
    """Where the services of the cluster are reached, and the CAS; `image` is the beginning of the images' names."""

    cas: str
    store: str
    api: str
    image: str


@dataclass(frozen=True)
class Shop:
    """What the manifests say; each change of the story changes something here."""

    at: Addresses
    greeting: str = "good morning"
    heap: str = "128M"
    token_size: int = 20
    host_names: tuple[str, ...] = ("shop.example.org",)
    web_has_token: bool = False
    web_is_called: str = "web"
    api_is_called: str = "api"
    release: str = "one"

    @property
    def services(self) -> tuple[str, ...]:
        return "store", self.api_is_called, self.web_is_called

    def image(self, service: str) -> str:
        return f"{self.at.image}{service}:{self.release if service == 'api' else 'one'}"

    def write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "api.py").write_text(API.replace("@release@", self.release))
        for name, manifest in (("store", self._store()), ("api", self._api()), ("web", self._web())):
            (folder / f"{name}.yaml").write_text(json.dumps(manifest, indent=2))
        (folder / "mesh.yaml").write_text(json.dumps(self._mesh(), indent=2))

    def _store(self) -> dict[str, Any]:
        secrets = [
            {"name": "ca_key", "kind": "private-key"},
            {"name": "ca", "kind": "x509-ca", "private_key": "ca_key", "common_name": "Shop", "export_public": True},
            {"name": "store_password", "kind": "binary", "size": 16},
            *_certificate("store", ["store.shop"]),
            *_certificate("api", ["api.shop"]),
            *_certificate("web", self.host_names),
        ]
        build = {
            "kind": "sconify_image",
            "from": "sconectl-test-image/redis",
            "pwd": "/data",
            "command": "docker-entrypoint.sh redis-server /shop/redis.conf",
        }
        users = "user default on >$$SCONE::store_password:hex$$ ~* &* +@all\n"
        files = {"/shop/redis.conf": REDIS, "/shop/users.acl": users}
        used = ["ca", "store_cert", "store_key", "store_password"]
        return self._service("store", build, {"global": secrets}, used, files)

    def _api(self) -> dict[str, Any]:
        build = {"kind": "python", "pwd": "/app", "copy": ["api.py"], "command": "python3 api.py"}
        imported = ["ca", "api_cert", "api_key", "store_password"]
        secrets = {"global": [{"name": "token", "kind": "ascii", "size": self.token_size}], "import": imported}
        environment = {
            "local": [{"name": "SCONE_HEAP", "value": self.heap}],
            "global": [{"name": "GREETING"}, {"name": "STORE_ADDRESS"}],
        }
        return self._service("api", build, secrets, [*imported, "token"], environment=environment)

    def _web(self) -> dict[str, Any]:
        build = {
            "kind": "sconify_image",
            "from": "sconectl-test-image/nginx",
            "pwd": "/srv",
            "command": "/docker-entrypoint.sh nginx -c /shop/nginx.conf -g 'daemon off;'",
        }
        used = ["ca", "web_cert", "web_key", *(["token"] if self.web_has_token else [])]
        return self._service("web", build, {"import": used}, used, {"/shop/nginx.conf": NGINX})

    def _service(
        self,
        name: str,
        build: Mapping[str, Any],
        secrets: Mapping[str, Any],
        used: Iterable[str],
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        contents = {f"{SECRETS}/{secret}": f"$$SCONE::{secret}$$" for secret in used} | dict(files or {})
        return {
            "apiVersion": "scone/5.8",
            "kind": "genservice",
            "build": {"name": name, "to": self.image(name), **build},
            "environment": environment or {},
            "secrets": secrets,
            "injection_files": [{"path": path, "content": content} for path, content in contents.items()],
        }

    def _mesh(self) -> dict[str, Any]:
        values = {"GREETING": self.greeting, "STORE_ADDRESS": self.at.store, "API_ADDRESS": self.at.api}
        api = {"name": self.api_is_called, "image": self.image("api")}
        if self.api_is_called != "api":
            api["renamed_from"] = "api"
        others = {"store": self.image("store"), self.web_is_called: self.image("web")}
        return {
            "apiVersion": "scone/5.8",
            "kind": "mesh",
            "cas": [{"name": "cas", "alias": ["image"], "cas_url": self.at.cas}],
            "policy": {"namespace": NAMESPACE},
            "env": [{"service": "global", "env": [{"name": name, "value": value} for name, value in values.items()]}],
            "services": [*({"name": name, "image": image} for name, image in others.items()), api],
        }


def _certificate(service: str, names: Iterable[str]) -> list[dict[str, Any]]:
    key, issued = f"{service}_key", {"kind": "x509", "issuer": "ca", "dns": [*names]}
    return [{"name": key, "kind": "private-key"}, {"name": f"{service}_cert", "private_key": key, **issued}]
