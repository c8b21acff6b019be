{{/* The pods of the service: the same for every kind of workload. */}}

{{- define "sconectl.service.pod" -}}
metadata:
  labels:
    {{- include "sconectl.service.podLabels" . | nindent 4 }}
    {{- range $key, $text := omit (default dict .Values.podLabels) "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/part-of" }}
    {{ $key | quote }}: {{ $text | quote }}
    {{- end }}
  annotations:
    {{- include "sconectl.service.podAnnotations" . | trim | nindent 4 }}
spec:
  {{- with include "sconectl.service.imagePullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  serviceAccountName: {{ include "sconectl.service.serviceAccountName" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- if include "sconectl.service.ends" . }}
  restartPolicy: {{ .Values.jobs.restartPolicy | quote }}
  {{- else }}
  restartPolicy: Always
  {{- end }}
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "sconectl.service.podSecurityContext" . }}
  securityContext:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with include "sconectl.service.waiting" . }}
  initContainers:
    {{- . | trim | nindent 4 }}
  {{- end }}
  containers:
    - {{- include "sconectl.service.container" . | nindent 6 }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "sconectl.service.podVolumes" . | nindent 4 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- $selector := include "sconectl.service.selectorLabels" $ | fromYaml }}
    {{- range . }}
    - {{- toYaml (ternary . (merge (dict "labelSelector" (dict "matchLabels" $selector)) .) (hasKey . "labelSelector")) | nindent 6 }}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* Containers that wait until others answer in TLS. */}}
{{- define "sconectl.service.waiting" -}}
{{- range $name := list "container1" "container2" -}}
{{- $given := get $.Values.initContainers $name -}}
{{- if $given.enabled }}
{{ include "sconectl.service.asking" (dict "root" $ "name" (printf "wait-%s" $name) "image" $.Values.initContainers.image "what" "initContainers.image" "host" $given.host "port" $given.port "until" "tls") }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
A container that asks whether a server answers. The image of the service can do that by itself: its launcher brings a Python,
which is started here without attesting, as nothing secret is needed. Other images need a python3.
*/}}
{{- define "sconectl.service.asking" -}}
{{- if and (not .image) (ne .root.Values.scone.toolchain "sim") -}}
{{- fail (printf "%s: images of this toolchain cannot ask whether a server answers: name an image with python3 in %s" .root.Chart.Name .what) -}}
{{- end -}}
- name: {{ .name }}
  image: {{ default .root.Values.image .image | quote }}
  imagePullPolicy: {{ .root.Values.imagePullPolicy | quote }}
  command:
    {{- if .image }}
    - python3
    {{- else }}
    - /scone/lib/ld.so
    - --inhibit-cache
    - --library-path
    - /scone/lib
    - /scone/bin/python3
    {{- end }}
    - -I
    - -S
    - -B
    - -c
    - {{ .root.Files.Get "files/answers.py" | toJson }}
    - {{ .host | quote }}
    - {{ .port | toString | quote }}
    - {{ .until | quote }}
  resources:
    requests:
      cpu: 10m
      memory: 64Mi
    limits:
      memory: 64Mi
  securityContext:
    {{- with .root.Values.podSecurityContext }}
    {{- if not .runAsNonRoot }}
    # The program may need to be root; asking does not.
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    {{- end }}
    {{- end }}
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop:
        - ALL
    seccompProfile:
      type: RuntimeDefault
{{- end -}}

{{- define "sconectl.service.container" -}}
{{- $ports := (include "sconectl.service.ports" . | fromJson).ports -}}
name: api
image: {{ .Values.image | quote }}
imagePullPolicy: {{ .Values.imagePullPolicy | quote }}
# No command and no arguments: the entry point of the image attests, and the CAS says what to run.
env:
  {{- include "sconectl.service.env" . | nindent 2 }}
{{- with $ports }}
ports:
  {{- range . }}
  - name: {{ .name | quote }}
    containerPort: {{ int .port }}
    protocol: TCP
  {{- end }}
{{- end }}
{{- with .Values.startupProbe }}
startupProbe:
  {{- include "sconectl.service.probe" . | nindent 2 }}
{{- end }}
{{- with .Values.livenessProbe }}
livenessProbe:
  {{- include "sconectl.service.probe" . | nindent 2 }}
{{- end }}
{{- with .Values.readinessProbe }}
readinessProbe:
  {{- include "sconectl.service.probe" . | nindent 2 }}
{{- end }}
{{- with include "sconectl.service.resources" . }}
resources:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "sconectl.service.securityContext" . }}
securityContext:
  {{- . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: sconectl-memory
    mountPath: /dev/shm
  {{- range $number, $path := .Values.writable }}
  - name: sconectl-writable-{{ $number }}
    mountPath: {{ $path | quote }}
  {{- end }}
  {{- if .Values.persistence.enabled }}
  - name: sconectl-data
    mountPath: {{ .Values.persistence.mountPath | quote }}
  {{- end }}
  {{- if include "sconectl.service.volumeMemory" . }}
  - name: sconectl-volumes
    mountPath: /scone/memory
  {{- end }}
  {{- range (include "sconectl.service.volumes" . | fromJson).volumes }}
  - name: {{ .label | quote }}
    mountPath: {{ .mountPath | quote }}
  {{- end }}
  {{- if include "sconectl.service.device" . }}
  - name: sconectl-enclave
    mountPath: /dev/sgx_enclave
  - name: sconectl-provision
    mountPath: /dev/sgx_provision
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* A probe has one way to ask: another one replaces the connection that is tried by default. */}}
{{- define "sconectl.service.probe" -}}
{{- if or .exec .grpc .httpGet -}}{{- omit . "tcpSocket" | toYaml -}}{{- else -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{- define "sconectl.service.env" -}}
- name: SCONE_CONFIG_ID
  value: {{ .Values.scone.configId | quote }}
- name: SCONE_CAS_ADDR
  value: {{ .Values.scone.cas | quote }}
{{- with .Values.scone.casKey }}
- name: SCONE_CAS_KEY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.scone.log }}
- name: SCONE_LOG
  value: {{ . | quote }}
{{- end }}
{{- if .Values.scone.las }}
- name: SCONE_LAS_ADDR
  value: {{ .Values.scone.las | quote }}
{{- else if eq .Values.scone.toolchain "scone" }}
# Quotes are made on the node where the enclave runs.
- name: SCONE_LAS_ADDR
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
{{- end }}
{{- if or .Values.scone.printVersion (eq .Values.scone.toolchain "scone") }}
- name: SCONE_VERSION
  value: "1"
{{- end }}
{{- if eq .Values.scone.toolchain "scone" }}
- name: SCONE_EDMM_MODE
  value: {{ default "auto" .Values.scone.edmm | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sconectl.service.podVolumes" -}}
# In memory: opened files and secrets are never on a disk of the node.
- name: sconectl-memory
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.memory.sizeLimit | quote }}
{{- range $number, $path := .Values.writable }}
- name: sconectl-writable-{{ $number }}
  emptyDir: {}
{{- end }}
{{- $root := . }}
{{- $claims := fromJson (include "sconectl.service.perReplica" .) }}
{{- if and .Values.persistence.enabled (not (hasKey $claims "sconectl-data")) }}
- name: sconectl-data
  persistentVolumeClaim:
    claimName: {{ default (include "sconectl.service.fullname" .) .Values.persistence.existingClaim | quote }}
{{- end }}
{{- with include "sconectl.service.volumeMemory" . }}
- name: sconectl-volumes
  emptyDir:
    medium: Memory
    sizeLimit: {{ . | quote }}
{{- end }}
{{- range (include "sconectl.service.volumes" . | fromJson).volumes }}
{{- if not (hasKey $claims .label) }}
- name: {{ .label | quote }}
  {{- if .persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "sconectl.service.claim" (dict "root" $root "volume" .) | quote }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
{{- end }}
{{- if include "sconectl.service.device" . }}
- name: sconectl-enclave
  hostPath:
    path: /dev/sgx_enclave
    type: CharDevice
- name: sconectl-provision
  hostPath:
    path: /dev/sgx_provision
    type: CharDevice
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
