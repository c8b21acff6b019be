{{/* What the volumes of the service mean for its pods. */}}

{{/*
The volumes of the service as JSON, each with the name of its values as label, sorted by that. They are looked for once:
most services have none, and many templates ask.
*/}}
{{- define "sconectl.service.volumes" -}}
{{- if not (hasKey . "sconectlVolumes") -}}
{{- $found := list -}}
{{- range $label, $volume := .Values -}}
{{- if and (hasPrefix "volume" $label) $volume -}}
{{- $found = append $found (set (deepCopy $volume) "label" $label) -}}
{{- end -}}
{{- end -}}
{{- $_ := set . "sconectlVolumes" (dict "volumes" $found | toJson) -}}
{{- end -}}
{{- .sconectlVolumes -}}
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
{{- if eq "statefulset" (default "" $owner.workload) -}}
{{- printf "%s-%s-0" $owner.volume (include "sconectl.service.shorter" $full) -}}
{{- else -}}
{{- include "sconectl.service.short" (printf "%s-%s" $full $owner.volume) -}}
{{- end -}}
{{- else -}}
{{- fail (printf "%s: %s is the volume of a session outside of this mesh; name its claim in %s.persistence.existingClaim" .root.Chart.Name .volume.label .volume.label) -}}
{{- end -}}
{{- end -}}

{{/* What has a claim for each replica of a StatefulSet, as JSON: the settings of the claim by the volume's name. */}}
{{- define "sconectl.service.perReplica" -}}
{{- $found := dict -}}
{{- if eq .Values.workload.kind "statefulset" -}}
{{- if and .Values.persistence.enabled (not .Values.persistence.existingClaim) -}}
{{- $_ := set $found "sconectl-data" .Values.persistence -}}
{{- end -}}
{{- range (include "sconectl.service.volumes" . | fromJson).volumes -}}
{{- if and .persistence.enabled (not .persistence.existingClaim) (not (hasKey . "importedFrom")) -}}
{{- $_ := set $found .label .persistence -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "sconectl.service.claimTemplates" -}}
{{- range $name, $claim := include "sconectl.service.perReplica" . | fromJson }}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: {{ $name | quote }}
    labels:
      {{- include "sconectl.service.selectorLabels" $ | nindent 6 }}
    {{- with $claim.annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "sconectl.service.claimSpec" $claim | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "sconectl.service.claimSpec" -}}
accessModes:
  {{- toYaml .accessModes | nindent 2 }}
{{- with .storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size | quote }}
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
