{{/* Names, labels and images. A component has the name of its label app.kubernetes.io/component. */}}

{{- define "sensor-etl.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 35 | trimSuffix "-" }}
{{- end }}

{{- define "sensor-etl.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 35 | trimSuffix "-" }}
{{- else if contains (include "sensor-etl.name" .) .Release.Name }}
{{- .Release.Name | trunc 35 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sensor-etl.name" .) | trunc 35 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that never change, for selectors. Takes root, component. */}}
{{- define "sensor-etl.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sensor-etl.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* All labels of an object. Takes root, component; optional: labels (they override those of the chart). */}}
{{- define "sensor-etl.labels" -}}
{{- $root := .root -}}
{{- $labels := include "sensor-etl.selectorLabels" . | fromYaml }}
{{- $_ := set $labels "app.kubernetes.io/part-of" "sensor-etl" }}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") }}
{{- include "sensor-etl.overridden" (list $labels $root.Values.commonLabels .labels) }}
{{- end }}

{{/* Merge a list of maps; later ones override earlier ones. Sprig's merge would take false and 0 for missing. */}}
{{- define "sensor-etl.overridden" -}}
{{- $all := dict }}
{{- range . }}
{{- range $key, $value := . }}
{{- $_ := set $all $key $value }}
{{- end }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{/* metadata of an object. Takes root, component, name; optional: annotations, labels, namespace. */}}
{{- define "sensor-etl.metadata" -}}
name: {{ .name }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- include "sensor-etl.labels" (dict "root" .root "component" .component "labels" .labels) | nindent 2 }}
{{- with merge (dict) (default (dict) .annotations) (default (dict) .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Annotations with which Helm keeps an object on uninstall. */}}
{{- define "sensor-etl.keep" -}}
{{- if .Values.keepData }}{helm.sh/resource-policy: keep}{{ else }}{}{{ end -}}
{{- end }}

{{/* Suffix of the Jobs of a revision, because Kubernetes does not allow a Job to change. */}}
{{- define "sensor-etl.revision" -}}
{{ default .Release.Revision .Values.revision }}
{{- end }}

{{/* Reference of an image; a digest overrides a tag. Takes root, image. */}}
{{- define "sensor-etl.image" -}}
{{- $root := .root -}}
{{- $own := default (dict) (index $root.Values.images .image) -}}
{{- $registry := default $root.Values.image.registry $own.registry -}}
{{- $repository := default (printf "%s/%s" $root.Values.image.repository .image) $own.repository -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ $repository }}
{{- if $own.digest }}@{{ $own.digest }}{{ else }}:{{ $own.tag | default $root.Values.image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Name of a Secret. Takes root, name (of the values, may be empty), default (suffix of the chart's own name). */}}
{{- define "sensor-etl.secretName" -}}
{{- default (printf "%s-%s" (include "sensor-etl.fullname" .root) .default) .name -}}
{{- end }}
