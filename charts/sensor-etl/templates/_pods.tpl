{{/* Parts that all pods share: security, images, placement. */}}

{{- define "sensor-etl.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Parts that all pod specs share. Takes root, values (of the component: nodeSelector, tolerations and so on), user and
     group (IDs); optional: token (true for a pod that calls the Kubernetes API). */}}
{{- define "sensor-etl.podSpec" -}}
{{- $root := .root -}}
{{- $part := .values -}}
automountServiceAccountToken: {{ default false .token }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .group }}
  fsGroup: {{ .group }}
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
{{- with default $root.Values.topologySpreadConstraints $part.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* metadata of a pod template. Takes root, component, values (of the component); optional: annotations. */}}
{{- define "sensor-etl.podMetadata" -}}
{{- $root := .root -}}
{{- $annotations := merge (dict) (default (dict) .annotations) (default (dict) .values.podAnnotations) (default (dict) $root.Values.commonAnnotations) -}}
labels:
  {{- include "sensor-etl.labels" (dict "root" $root "component" .component "labels" .values.podLabels) | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Image and security of a container. Takes root, image. */}}
{{- define "sensor-etl.container" -}}
image: {{ include "sensor-etl.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "sensor-etl.containerSecurityContext" . | nindent 2 }}
{{- end }}

{{/* Variables of a container, each name once. Takes chart (YAML text), user (a list, which overrides it). */}}
{{- define "sensor-etl.env" -}}
{{- $names := list }}
{{- $entries := dict }}
{{- range concat (.chart | fromYamlArray) (default (list) .user) }}
{{- $names = append (without $names .name) .name }}
{{- $_ := set $entries .name . }}
{{- end }}
{{- $last := list }}
{{- range $names }}{{ $last = append $last (get $entries .) }}{{ end }}
{{- toYaml $last }}
{{- end }}

{{/* A volumeClaimTemplate. Takes root, name, persistence (values). */}}
{{- define "sensor-etl.claimTemplate" -}}
{{- $root := .root -}}
{{- $persistence := .persistence -}}
- metadata:
    name: {{ .name }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with default $root.Values.storageClass $persistence.storageClass }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ $persistence.size }}
{{- end }}

{{/* affinity of pods that an operator creates; the nodeSelector becomes a part of it. Takes root, values. */}}
{{- define "sensor-etl.affinity" -}}
{{- $root := .root -}}
{{- $part := .values -}}
{{- $affinity := deepCopy (default $root.Values.affinity $part.affinity) -}}
{{- $selected := list -}}
{{- range $key, $value := default $root.Values.nodeSelector $part.nodeSelector -}}
{{- $selected = append $selected (dict "key" $key "operator" "In" "values" (list $value)) -}}
{{- end -}}
{{- if $selected -}}
{{- $nodes := default (dict) $affinity.nodeAffinity -}}
{{- /* A node has to match one of the terms, so the selector is added to each of them. */ -}}
{{- $terms := list -}}
{{- range dig "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" (list (dict)) $nodes -}}
{{- $terms = append $terms (set . "matchExpressions" (concat (default (list) .matchExpressions) $selected)) -}}
{{- end -}}
{{- $_ := set $nodes "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
{{- $_ := set $affinity "nodeAffinity" $nodes -}}
{{- end -}}
{{- with $affinity }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* Security context of a container with an operator's image, as the Pod Security Standard `restricted` requires. */}}
{{- define "sensor-etl.restricted" -}}
securityContext:
  allowPrivilegeEscalation: false
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end }}
