{{/* What all pods share: security, images, placement. */}}

{{- define "sensor-etl.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Takes (list $ part uid gid), and "token" for a pod that asks Kubernetes; part is the values of a component, with
     nodeSelector and so on of its own. */}}
{{- define "sensor-etl.podSpec" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
automountServiceAccountToken: {{ gt (len .) 4 }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 2 }}
  runAsGroup: {{ index . 3 }}
  fsGroup: {{ index . 3 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $root.Values.nodeSelector $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $root.Values.tolerations $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default $root.Values.affinity $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* metadata of a pod template: takes (list $ component part), and optionally a dict of annotations. */}}
{{- define "sensor-etl.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $part := index . 2 -}}
{{- $annotations := dict }}
{{- if gt (len .) 3 }}{{ $annotations = index . 3 }}{{ end }}
{{- $annotations = merge (dict) $annotations (default (dict) $part.podAnnotations) (default (dict) $root.Values.commonAnnotations) -}}
labels:
  {{- include "sensor-etl.labels" (list $root (index . 1) $part.podLabels) | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* image and security of a container: takes (list $ image). */}}
{{- define "sensor-etl.container" -}}
image: {{ include "sensor-etl.image" . }}
imagePullPolicy: {{ (index . 0).Values.image.pullPolicy }}
securityContext:
  {{- include "sensor-etl.containerSecurityContext" . | nindent 2 }}
{{- end }}

{{/* Variables of a container: takes (list ours theirs), ours as text. A name is there once, and theirs goes before. */}}
{{- define "sensor-etl.env" -}}
{{- $names := list }}
{{- $entries := dict }}
{{- range concat (index . 0 | fromYamlArray) (default (list) (index . 1)) }}
{{- $names = append (without $names .name) .name }}
{{- $_ := set $entries .name . }}
{{- end }}
{{- $last := list }}
{{- range $names }}{{ $last = append $last (get $entries .) }}{{ end }}
{{- toYaml $last }}
{{- end }}

{{/* A volumeClaimTemplate: takes (list $ name persistence). */}}
{{- define "sensor-etl.claimTemplate" -}}
{{- $root := index . 0 -}}
{{- $persistence := index . 2 -}}
- metadata:
    name: {{ index . 1 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with default $root.Values.storageClass $persistence.storageClass }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ $persistence.size }}
{{- end }}

{{/* affinity of pods that an operator makes, which knows no nodeSelector: takes (list $ part). */}}
{{- define "sensor-etl.affinity" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $affinity := deepCopy (default $root.Values.affinity $part.affinity) -}}
{{- $selected := list -}}
{{- range $key, $value := default $root.Values.nodeSelector $part.nodeSelector -}}
{{- $selected = append $selected (dict "key" $key "operator" "In" "values" (list $value)) -}}
{{- end -}}
{{- if $selected -}}
{{- $nodes := default (dict) $affinity.nodeAffinity -}}
{{- /* One of the terms has to hold, and the selector in any case. */ -}}
{{- $terms := list -}}
{{- range dig "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" (list (dict)) $nodes -}}
{{- $terms = append $terms (set . "matchExpressions" (concat (default (list) .matchExpressions) $selected)) -}}
{{- end -}}
{{- $_ := set $nodes "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- $_ := set $affinity "nodeAffinity" $nodes -}}
{{- end -}}
{{- with $affinity }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* Security of a container whose image is an operator's, as Pod Security Standard `restricted` wants it. */}}
{{- define "sensor-etl.restricted" -}}
securityContext:
  allowPrivilegeEscalation: false
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end }}
