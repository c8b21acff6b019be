"""How fast Helm takes the chart: `python bench/chart.py`.

In: nothing; a mesh of 300 services is compiled here, in memory (/dev/shm). Beside it stands a chart of the same
objects, with the same values and their schema, and with templates as a person would write them for these services: no
other workload, no volumes, no hardware, one helper for names and labels. Out: processor time of `helm lint --strict`
and of rendering ours, over that of the other one. What is compared takes turns; a ratio is the median over the rounds.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from compile import compiled, make_mesh, measured, verdict

SERVICES, ROUNDS, GOAL = 300, 5, 1.2
LINT = """
import sys
import helm_python as helm
report = helm.lint(sys.argv[1], strict=True)
assert not report["errors"], report["errors"][:3]
"""
RENDER = """
import sys
import helm_python as helm
with helm.Chart.load(sys.argv[1]) as chart:
    rendered = chart.render({}, name="bench", namespace="default")
found = sum(text.count("\\nkind: ") for text in rendered.values())
assert found == int(sys.argv[2]), found
"""
HELPERS = """\
{{- define "NAME.labels" -}}
{{ include "NAME.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}
{{- define "NAME.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "NAME.fullname" -}}
{{ default (printf "%s-%s" .Release.Name .Chart.Name) .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}
"""
HEAD = """\
metadata:
  name: {{ include "NAME.fullname" . }}
  labels:
    {{- include "NAME.labels" . | nindent 4 }}
"""
POD = """\
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      serviceAccountName: {{ include "NAME.fullname" . }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
      securityContext:
        {{- toYaml .Values.podSecurityContext | nindent 8 }}
      containers:
        - name: api
          image: {{ .Values.image | quote }}
          imagePullPolicy: {{ .Values.imagePullPolicy }}
          env:
            - name: SCONE_CONFIG_ID
              value: {{ .Values.scone.configId | quote }}
            - name: SCONE_CAS_ADDR
              value: {{ .Values.scone.cas | quote }}
            - name: SCONE_LOG
              value: {{ .Values.scone.log | quote }}
          ports:
            {{- range .Values.service.ports }}
            - name: {{ .name }}
              containerPort: {{ .port }}
              protocol: TCP
            {{- end }}
          startupProbe:
            {{- toYaml .Values.startupProbe | nindent 12 }}
          readinessProbe:
            {{- toYaml .Values.readinessProbe | nindent 12 }}
          {{- with .Values.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          securityContext:
            {{- toYaml .Values.securityContext | nindent 12 }}
          volumeMounts:
            - name: memory
              mountPath: /dev/shm
            {{- with .Values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: memory
          emptyDir:
            medium: Memory
            sizeLimit: {{ .Values.memory.sizeLimit }}
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
"""
SELECTOR = """\
      app.kubernetes.io/name: {{ .Chart.Name }}
      app.kubernetes.io/instance: {{ .Release.Name }}
"""
TEMPLATES = {
    "_helpers.tpl": HELPERS,
    "deployment.yaml": f"""\
apiVersion: apps/v1
kind: Deployment
{HEAD}spec:
  replicas: {{{{ .Values.replicaCount }}}}
  selector:
    matchLabels:
{SELECTOR}  template:
    metadata:
      labels:
        {{{{- include "NAME.labels" . | nindent 8 }}}}
      annotations:
        sconectl.io/measurement: {{{{ .Values.scone.measurement | quote }}}}
        {{{{- with .Values.podAnnotations }}}}
        {{{{- toYaml . | nindent 8 }}}}
        {{{{- end }}}}
    spec:
{POD}""",
    "service.yaml": f"""\
apiVersion: v1
kind: Service
{HEAD}spec:
  type: {{{{ .Values.service.type }}}}
  selector:
    {{{{- include "NAME.selector" . | nindent 4 }}}}
  ports:
    {{{{- range .Values.service.ports }}}}
    - name: {{{{ .name }}}}
      port: {{{{ .port }}}}
      targetPort: {{{{ .name }}}}
      protocol: TCP
    {{{{- end }}}}
""",
    "serviceaccount.yaml": f"apiVersion: v1\nkind: ServiceAccount\n{HEAD}automountServiceAccountToken: false\n",
    "networkpolicy.yaml": f"""\
{{{{- if .Values.networkPolicy.enabled }}}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{HEAD}spec:
  podSelector:
    matchLabels:
{SELECTOR}  policyTypes: [Ingress]
  ingress:
    - ports:
        {{{{- range .Values.service.ports }}}}
        - port: {{{{ .port }}}}
          protocol: TCP
        {{{{- end }}}}
      from:
        {{{{- range .Values.networkPolicy.callers }}}}
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: {{{{ . }}}}
              app.kubernetes.io/instance: {{{{ $.Release.Name }}}}
        {{{{- end }}}}
{{{{- end }}}}
""",
    "tests/connection.yaml": """\
{{- if .Values.networkPolicy.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "NAME.fullname" . }}.test
  annotations:
    helm.sh/hook: test
spec:
  podSelector:
    matchLabels:
      {{- include "NAME.selector" . | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: {{ .Chart.Name }}.test
{{- end }}
---
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "NAME.fullname" . }}-test
  labels:
    app.kubernetes.io/name: {{ .Chart.Name }}.test
  annotations:
    helm.sh/hook: test
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: answers
      image: {{ .Values.image | quote }}
      command: [python3, -I, -c, {{ .Files.Get "files/answers.py" | toJson }}, {{ include "NAME.fullname" . }}, "8080"]
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
""",
}


def rewrite_by_hand(chart: Path) -> None:
    """Put templates that a person would write into the place of those of all subcharts."""
    for subchart in (chart / "charts").iterdir():
        shutil.rmtree(subchart / "templates")
        for path, text in TEMPLATES.items():
            file = subchart / "templates" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("NAME", subchart.name))


def main() -> int:
    shared = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="sconectl-bench-", dir=shared if shared.is_dir() else None))
    try:
        make_mesh(root / "mesh", SERVICES)
        compiled(root / "mesh")
        ours, other = root / "mesh/target/helm", root / "hand"
        shutil.copytree(ours, other)
        rewrite_by_hand(other)
        met = []
        for name, program in (("helm lint --strict", LINT), ("rendering", RENDER)):
            words = (sys.executable, "-I", "-c", program)
            count = str(6 * SERVICES)
            rounds = [(measured(*words, ours, count)[1], measured(*words, other, count)[1]) for _ in range(ROUNDS)]
            ratio = statistics.median(one / two for one, two in rounds)
            times = [1000 * statistics.median(column) / SERVICES for column in zip(*rounds, strict=True)]
            more = f"; processor time for each service {times[0]:.1f} ms, by hand {times[1]:.1f} ms"
            met.append(verdict(f"{name} of {SERVICES} services, over a chart by hand", ratio, GOAL, more))
    finally:
        shutil.rmtree(root)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
