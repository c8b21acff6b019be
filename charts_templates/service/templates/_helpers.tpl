{{/* The names of all templates start with sconectl.service: Helm shares one name space between all charts. */}}

{{/* The name of the service: the value of the label by which its pods are found. */}}
{{- define "sconectl.service.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
A name as a DNS label. Where it is longer than 63 characters, a hash of the whole name replaces its end, so that two long
names never become the same one.
*/}}
{{- define "sconectl.service.short" -}}
{{- if gt (len .) 63 -}}
{{- printf "%s-%s" (. | trunc 54 | trimSuffix "-") (. | sha256sum | trunc 8) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* The name of the service's objects: <release>-<service>. */}}
{{- define "sconectl.service.fullname" -}}
{{- $full := default (printf "%s-%s" .Release.Name (include "sconectl.service.name" .)) .Values.fullnameOverride -}}
{{- include "sconectl.service.short" $full -}}
{{- end -}}

{{- define "sconectl.service.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sconectl.service.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The selector of a workload can never be changed, so only what never changes may stand here. */}}
{{- define "sconectl.service.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sconectl.service.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels of the pods: a change replaces them, so the version of the chart is not among them. */}}
{{- define "sconectl.service.podLabels" -}}
{{ include "sconectl.service.selectorLabels" . }}
{{- with .Chart.AppVersion }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: {{ index .Chart.Annotations "sconectl.io/mesh" | trunc 63 | trimSuffix "-" | quote }}
{{- end -}}

{{- define "sconectl.service.labels" -}}
{{ include "sconectl.service.podLabels" . }}
helm.sh/chart: {{ regexReplaceAll "[^A-Za-z0-9]+$" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63) "" | quote }}
{{- end -}}

{{/*
A name that leaves room for what Kubernetes puts behind it: the pods of a StatefulSet and the Jobs of a CronJob.
*/}}
{{- define "sconectl.service.shorter" -}}
{{- if gt (len .) 52 -}}
{{- printf "%s-%s" (. | trunc 43 | trimSuffix "-") (. | sha256sum | trunc 8) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* The name of the object that runs the pods. A Job cannot be changed, so other values make another one. */}}
{{- define "sconectl.service.workloadName" -}}
{{- $name := include "sconectl.service.fullname" . -}}
{{- if has .Values.workload.kind (list "statefulset" "cronjob") -}}
{{- include "sconectl.service.shorter" $name -}}
{{- else if and (eq .Values.workload.kind "job") .Values.jobs.uniqueName -}}
{{- include "sconectl.service.short" (printf "%s-%s" $name (omit .Values "global" | toJson | sha256sum | trunc 8)) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* The name of the Service that gives each pod of a StatefulSet an address of its own. */}}
{{- define "sconectl.service.podsName" -}}
{{- include "sconectl.service.short" (printf "%s-pods" (include "sconectl.service.fullname" .)) -}}
{{- end -}}

{{/* Something, if pods of this kind run to their end instead of serving. */}}
{{- define "sconectl.service.ends" -}}
{{- if has .Values.workload.kind (list "job" "cronjob") -}}true{{- end -}}
{{- end -}}

{{/* The ports of the service as JSON: those of the image, the first one with another number if a value says so. */}}
{{- define "sconectl.service.ports" -}}
{{- $ports := default list .Values.service.ports -}}
{{- with .Values.service.port -}}
{{- $first := ternary (first $ports) (dict "name" "api") (gt (len $ports) 0) -}}
{{- $ports = prepend (rest (default (list $first) $ports)) (merge (dict "port" .) $first) -}}
{{- end -}}
{{- dict "ports" $ports | toJson -}}
{{- end -}}

{{/* The ports at which the CAS answers, as JSON: the one of its address, or else both that a CAS has. */}}
{{- define "sconectl.service.casPorts" -}}
{{- $ports := list 8081 18765 -}}
{{- with regexFind ":[0-9]+$" .Values.scone.cas -}}
{{- $ports = list (trimPrefix ":" . | atoi) -}}
{{- end -}}
{{- if eq .Values.scone.toolchain "scone" -}}
{{- $ports = append $ports 18766 -}}
{{- end -}}
{{- dict "ports" $ports | toJson -}}
{{- end -}}

{{/* Says on every object that nothing but the program itself is protected, if that is so. */}}
{{- define "sconectl.service.annotations" -}}
{{- if eq .Values.scone.toolchain "sim" -}}
sconectl.io/simulation: "true"
{{- end -}}
{{- end -}}

{{/*
These annotations replace the pods: a new image under the same tag has another measurement, and a changed session, or one
that it imports from, another configuration.
*/}}
{{- define "sconectl.service.podAnnotations" -}}
{{- $own := dict "sconectl.io/measurement" .Values.scone.measurement -}}
{{- with .Values.scone.configuration -}}
{{- $_ := set $own "sconectl.io/configuration" . -}}
{{- end -}}
{{- if eq .Values.scone.toolchain "sim" -}}
{{- $_ := set $own "sconectl.io/simulation" "true" -}}
{{- end -}}
{{- range $key, $text := merge $own (deepCopy (default dict .Values.podAnnotations)) }}
{{ $key | quote }}: {{ $text | quote }}
{{- end -}}
{{- end -}}

{{- define "sconectl.service.imagePullSecrets" -}}
{{- $all := concat (default list .Values.imagePullSecrets) (default list ((.Values.global).imagePullSecrets)) -}}
{{- if $all -}}
imagePullSecrets:
{{- range $all | uniq }}
  - name: {{ .name | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Which toolchain protected the image is a fact and no setting: a value must not hide a simulation. */}}
{{- define "sconectl.service.check" -}}
{{- $built := index .Chart.Annotations "sconectl.io/toolchain" -}}
{{- if ne .Values.scone.toolchain $built -}}
{{- fail (printf "%s: scone.toolchain is %q, but the image was built with %q; build the image again instead of changing the value" .Chart.Name .Values.scone.toolchain $built) -}}
{{- end -}}
{{- if and (eq .Values.workload.kind "cronjob") (not .Values.workload.schedule) -}}
{{- fail (printf "%s: a CronJob needs workload.schedule, like \"0 3 * * *\"" .Chart.Name) -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if not (has .Values.workload.kind (list "deployment" "statefulset")) -}}
{{- fail (printf "%s: autoscaling is for workload.kind deployment and statefulset" .Chart.Name) -}}
{{- end -}}
{{- if include "sconectl.service.oneByOne" . -}}
{{- fail (printf "%s: autoscaling is not possible with volumes: only one pod at a time has them" .Chart.Name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
