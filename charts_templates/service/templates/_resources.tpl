{{/* What the container asks the node for. */}}

{{/* Something, if the node has to give a device of Intel SGX without a plugin. */}}
{{- define "sconectl.service.device" -}}
{{- if and (eq .Values.scone.toolchain "scone") (eq .Values.useSGXDevPlugin "disabled") -}}true{{- end -}}
{{- end -}}

{{/*
Requests and limits. A limit of memory has room for opened volumes, which are memory of the container. Without a limit, one
follows from the heap of the program, if that is known. How an enclave is asked for depends on the device plugin; who
names a resource of SGX has decided that.
*/}}
{{- define "sconectl.service.resources" -}}
{{- $resources := dict -}}
{{- range $part, $given := default dict .Values.resources -}}
{{- if kindIs "map" $given -}}
{{- $kept := dict -}}
{{- range $name, $amount := $given -}}
{{- if not (kindIs "invalid" $amount) -}}{{- $_ := set $kept $name $amount -}}{{- end -}}
{{- end -}}
{{- $given = $kept -}}
{{- end -}}
{{- if $given -}}{{- $_ := set $resources $part $given -}}{{- end -}}
{{- end -}}
{{- $limits := default dict $resources.limits -}}
{{- $requests := default dict $resources.requests -}}
{{- $volumes := default "0" (include "sconectl.service.volumeMemory" .) | int64 -}}
{{- if $limits.memory -}}
{{- if $volumes -}}
{{- $_ := set $limits "memory" (add (include "sconectl.service.bytes" $limits.memory | int64) $volumes | toString) -}}
{{- end -}}
{{- else if .Values.memory.heap -}}
{{- $runtime := add (include "sconectl.service.bytes" .Values.memory.sizeLimit | int64) (include "sconectl.service.bytes" .Values.memory.runtime | int64) -}}
{{- $all := add (include "sconectl.service.bytes" .Values.memory.heap | int64) $runtime $volumes | toString -}}
{{- $_ := set $limits "memory" $all -}}
{{- if not $requests.memory -}}{{- $_ := set $requests "memory" $all -}}{{- end -}}
{{- end -}}
{{- $named := false -}}
{{- range $name, $_ := $limits -}}{{- if hasPrefix "sgx." $name -}}{{- $named = true -}}{{- end -}}{{- end -}}
{{- if and (eq .Values.scone.toolchain "scone") (not $named) -}}
{{- $epc := printf "%dMi" (int64 .Values.sgxEpcMem) -}}
{{- if eq .Values.useSGXDevPlugin "azure" -}}
{{- if not .Values.sgxEpcMem -}}
{{- fail (printf "%s: with useSGXDevPlugin azure, say how many MiB of memory the enclave needs: sgxEpcMem" .Chart.Name) -}}
{{- end -}}
{{- $_ := set $limits "sgx.intel.com/epc" $epc -}}
{{- else if ne .Values.useSGXDevPlugin "disabled" -}}
{{- $_ := set $limits "sgx.intel.com/enclave" 1 -}}
{{- if and (eq .Values.useSGXDevPlugin "intel") .Values.sgxEpcMem -}}{{- $_ := set $limits "sgx.intel.com/epc" $epc -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $limits -}}{{- $_ := set $resources "limits" $limits -}}{{- end -}}
{{- if $requests -}}{{- $_ := set $resources "requests" $requests -}}{{- end -}}
{{- if $resources -}}{{- toYaml $resources -}}{{- end -}}
{{- end -}}

{{/* The security context of the container; without a device plugin only a privileged one sees the device. */}}
{{- define "sconectl.service.securityContext" -}}
{{- $context := deepCopy (default dict .Values.securityContext) -}}
{{- if include "sconectl.service.device" . -}}
{{- $_ := set $context "privileged" true -}}
{{- $_ := set $context "allowPrivilegeEscalation" true -}}
{{- end -}}
{{- if $context -}}{{- toYaml $context -}}{{- end -}}
{{- end -}}
