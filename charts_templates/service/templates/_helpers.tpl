{{/* The names of all templates start with sconectl.service: Helm shares one name space between all charts. */}}

{{/* The name of the service: the value of the label by which its pods are found. */}}
{{- define "sconectl.service.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The name of the service's objects: <release>-<service>. Where that is longer than the 63 characters of a DNS label,
a hash of the whole name replaces its end, so that two long names never become the same one.
*/}}
{{- define "sconectl.service.fullname" -}}
{{- $full := default (printf "%s-%s" .Release.Name (include "sconectl.service.name" .)) .Values.fullnameOverride -}}
{{- if gt (len $full) 63 -}}
{{- printf "%s-%s" ($full | trunc 54 | trimSuffix "-") ($full | sha256sum | trunc 8) -}}
{{- else -}}
{{- $full -}}
{{- end -}}
{{- end -}}

{{- define "sconectl.service.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sconectl.service.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The selector of a Deployment can never be changed, so only what never changes may stand here. */}}
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
{{- end -}}
