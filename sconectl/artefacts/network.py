"""How others reach a service, and who may, without Helm.

In: a service as it is installed. Out: Kubernetes objects. Raises `PlanImpossible` for a Service without a port. It says
the same as the templates service.yaml, networkpolicy.yaml and ingress.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sconectl.artefacts.installed import Installed, Object
from sconectl.errors import PlanImpossible

_PASSED_ON = {
    "haproxy-ingress.github.io/ssl-passthrough": "true",
    "haproxy.org/ssl-passthrough": "true",
    "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS",
    "nginx.ingress.kubernetes.io/ssl-passthrough": "true",
}
"""TLS ends in the service, as the known controllers are told so."""
_CAS_PORTS = (8081, 18765)
_LAS_PORT = 18766


def services(of: Installed) -> Iterator[Object]:
    """Yield the Service for clients, and the one for the addresses of single pods of a StatefulSet."""
    given = of.values["service"]
    ports = [
        {"name": port["name"], "port": port["port"], "targetPort": port["name"], "protocol": "TCP"} for port in of.ports
    ]
    if given["enabled"]:
        if not ports:
            message = f"{of.service.name}: service.enabled needs a port"
            raise PlanImpossible(message, hint="give service.port or service.ports")
        public = [dict(port) for port in ports]
        if given.get("nodePort"):
            public[0]["nodePort"] = given["nodePort"]
        spec: Object = {"type": given["type"], "selector": of.selector(), "ports": public}
        yield of.object("v1", "Service", {"spec": spec}, given.get("annotations"))
    if of.kind == "statefulset":
        spec = {"type": "ClusterIP", "clusterIP": "None", "publishNotReadyAddresses": True, "selector": of.selector()}
        if ports:
            spec["ports"] = ports
        yield of.object("v1", "Service", {"spec": spec}, name=of.pods_name)


def network_policy(of: Installed) -> Iterator[Object]:
    """Yield who may reach the pods, if that is known."""
    given, values = of.values["networkPolicy"], of.values
    if not given["enabled"]:
        return
    outside = values["service"]["enabled"] and values["service"]["type"] != "ClusterIP"
    is_open = values["ingress"]["enabled"] or values["gateway"]["enabled"] or outside
    peers: list[Object] = [
        {"podSelector": {"matchLabels": {**of.selector(), "app.kubernetes.io/name": caller}}}
        for caller in given.get("callers") or ()
    ]
    peers += given.get("from") or ()
    ingress: list[Object] = []
    if of.ports and (is_open or peers):
        ports = [{"port": port["port"], "protocol": "TCP"} for port in of.ports]
        ingress = [{"ports": ports, **({} if is_open else {"from": peers})}]
    spec: Object = {"podSelector": {"matchLabels": of.selector()}, "policyTypes": ["Ingress"], "ingress": ingress}
    if given.get("restrictEgress"):
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = _egress(of)
    yield of.object("networking.k8s.io/v1", "NetworkPolicy", {"spec": spec})


def _egress(of: Installed) -> list[Object]:
    match = re.search(r":([0-9]+)$", of.values["scone"]["cas"])
    attesting = [int(match[1])] if match else list(_CAS_PORTS)
    if of.service.toolchain.sgx:
        attesting.append(_LAS_PORT)
    more = of.values["networkPolicy"].get("to")
    return [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"ports": [{"port": port, "protocol": "TCP"} for port in attesting]},
        {"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/instance": of.release}}}]},
        *([{"to": more}] if more else []),
    ]


def ways_from_outside(of: Installed) -> Iterator[Object]:
    """Yield Ingress and TLSRoute, which pass TLS on to the service."""
    ingress, gateway = of.values["ingress"], of.values["gateway"]
    if (ingress["enabled"] or gateway["enabled"]) and not (of.values["service"]["enabled"] and of.ports):
        message = f"{of.service.name}: ingress and gateway need a Service"
        raise PlanImpossible(message, hint="set service.enabled and service.port")
    if ingress["enabled"]:
        backend = {"service": {"name": of.name, "port": {"name": of.ports[0]["name"]}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        spec: Object = {"ingressClassName": ingress["className"]} if ingress.get("className") else {}
        spec["tls"] = [{"hosts": ingress["hosts"]}]
        spec["rules"] = [{"host": host, "http": {"paths": paths}} for host in ingress["hosts"]]
        annotations = {**_PASSED_ON, **(ingress.get("annotations") or {})}
        yield of.object("networking.k8s.io/v1", "Ingress", {"spec": spec}, dict(sorted(annotations.items())))
    if gateway["enabled"]:
        rules = [{"backendRefs": [{"name": of.name, "port": of.ports[0]["port"]}]}]
        spec = {"parentRefs": gateway["parentRefs"], "hostnames": gateway["hostnames"], "rules": rules}
        yield of.object(gateway["apiVersion"], "TLSRoute", {"spec": spec})
