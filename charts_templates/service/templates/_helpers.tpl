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

{{/* The volumes of the service as JSON, each with the name of its values as label, sorted by that. */}}
{{- define "sconectl.service.volumes" -}}
{{- $found := list -}}
{{- range $label, $volume := .Values -}}
{{- if and (hasPrefix "volume" $label) $volume -}}
{{- $found = append $found (set (deepCopy $volume) "label" $label) -}}
{{- end -}}
{{- end -}}
{{- dict "volumes" $found | toJson -}}
{{- end -}}

{{/* The claim of a volume; what is imported from a service of this release is on the claim of that service. */}}
{{- define "sconectl.service.claim" -}}
{{- $owner := .volume.importedFrom -}}
{{- if .volume.persistence.existingClaim -}}
{{- .volume.persistence.existingClaim -}}
{{- else if not (hasKey .volume "importedFrom") -}}
{{- include "sconectl.service.short" (printf "%s-%s" (include "sconectl.service.fullname" .root) .volume.label) -}}
{{- else if and $owner.service $owner.volume -}}
{{- $full := include "sconectl.service.short" (printf "%s-%s" .root.Release.Name $owner.service) -}}
{{- include "sconectl.service.short" (printf "%s-%s" $full $owner.volume) -}}
{{- else -}}
{{- fail (printf "%s: %s is the volume of a session outside of this mesh; name its claim in %s.persistence.existingClaim" .root.Chart.Name .volume.label .volume.label) -}}
{{- end -}}
{{- end -}}

{{/* The bytes of a size like 1.5Gi. */}}
{{- define "sconectl.service.bytes" -}}
{{- $text := ternary (toString (int64 .)) (toString .) (kindIs "float64" .) -}}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$" $text) -}}
{{- fail (printf "%q is no size; write it like 512Mi or 2Gi" $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- int64 (mulf (float64 $number) (float64 (get $units (trimPrefix $number $text)))) -}}
{{- end -}}

{{/* The bytes of memory in which volumes are opened; nothing if none is encrypted. */}}
{{- define "sconectl.service.volumeMemory" -}}
{{- $encrypted := false -}}
{{- $sum := 0 -}}
{{- range (include "sconectl.service.volumes" . | fromJson).volumes -}}
{{- if .encrypted -}}
{{- $encrypted = true -}}
{{- $sum = add $sum (include "sconectl.service.bytes" .persistence.size | int64) -}}
{{- end -}}
{{- end -}}
{{- if $encrypted -}}
{{- with .Values.memory.volumes -}}
{{- $sum = include "sconectl.service.bytes" . | int64 -}}
{{- end -}}
{{- $sum -}}
{{- end -}}
{{- end -}}

{{/* Something, if a pod cannot start before the one that it replaces has stopped: they cannot have a volume both. */}}
{{- define "sconectl.service.oneByOne" -}}
{{- $found := .Values.persistence.enabled -}}
{{- range (include "sconectl.service.volumes" . | fromJson).volumes -}}
{{- $found = or $found .encrypted .persistence.enabled -}}
{{- end -}}
{{- if $found -}}true{{- end -}}
{{- end -}}

{{/* What opened volumes take is memory of the container, so a limit of that is raised. */}}
{{- define "sconectl.service.resources" -}}
{{- $resources := deepCopy (default dict .Values.resources) -}}
{{- $memory := include "sconectl.service.volumeMemory" . -}}
{{- if and $memory (($resources).limits).memory -}}
{{- $limit := add (include "sconectl.service.bytes" $resources.limits.memory | int64) (int64 $memory) -}}
{{- $_ := set $resources.limits "memory" (toString $limit) -}}
{{- end -}}
{{- if $resources -}}{{- toYaml $resources -}}{{- end -}}
{{- end -}}

{{/*
A program that is not root can write to the storage of its volumes only if that belongs to one of its groups: Kubernetes
gives new claims to root.
*/}}
{{- define "sconectl.service.podSecurityContext" -}}
{{- $pod := deepCopy (default dict .Values.podSecurityContext) -}}
{{- $own := default dict .Values.securityContext -}}
{{- $user := int64 (default (default 0 $pod.runAsUser) $own.runAsUser) -}}
{{- $group := int64 (default (default $user $pod.runAsGroup) $own.runAsGroup) -}}
{{- $volumes := (include "sconectl.service.volumes" . | fromJson).volumes -}}
{{- if and $volumes (not (hasKey $pod "fsGroup")) (or $pod.runAsNonRoot $own.runAsNonRoot (gt $user 0)) -}}
{{- $_ := set $pod "fsGroup" (ternary $group 10001 (gt $group 0)) -}}
{{- $_ := set $pod "fsGroupChangePolicy" (default "OnRootMismatch" $pod.fsGroupChangePolicy) -}}
{{- end -}}
{{- if $pod -}}{{- toYaml $pod -}}{{- end -}}
{{- end -}}

{{/* Which toolchain protected the image is a fact and no setting: a value must not hide a simulation. */}}
{{- define "sconectl.service.check" -}}
{{- $built := index .Chart.Annotations "sconectl.io/toolchain" -}}
{{- if ne .Values.scone.toolchain $built -}}
{{- fail (printf "%s: scone.toolchain is %q, but the image was built with %q; build the image again instead of changing the value" .Chart.Name .Values.scone.toolchain $built) -}}
{{- end -}}
{{- if and (eq .Values.scone.toolchain "scone") (eq (default "" .Values.useSGXDevPlugin) "azure") (hasKey (default dict (default dict .Values.resources).limits) "sgx.intel.com/enclave") -}}
{{- fail (printf "%s: with useSGXDevPlugin azure, say which memory the enclave needs: set resources.limits \"sgx.intel.com/enclave\" to null, and \"sgx.intel.com/epc\" to a size" .Chart.Name) -}}
{{- end -}}
{{- end -}}
