{{/* Names, labels and images. Components are named as they appear in the label app.kubernetes.io/component. */}}

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

{{/* Labels that never change, for selectors. Takes (list $ component). */}}
{{- define "sensor-etl.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "sensor-etl.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Takes (list $ component), and further labels as a dict, which go before ours. */}}
{{- define "sensor-etl.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := include "sensor-etl.selectorLabels" . | fromYaml }}
{{- $_ := set $labels "app.kubernetes.io/part-of" "sensor-etl" }}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") }}
{{- include "sensor-etl.overridden" (concat (list $labels $root.Values.commonLabels) (slice . 2)) }}
{{- end }}

{{/* The entries of several maps as one, the later ones going before. Sprig's merge would take false and 0 for missing. */}}
{{- define "sensor-etl.overridden" -}}
{{- $all := dict }}
{{- range . }}
{{- range $key, $value := . }}
{{- $_ := set $all $key $value }}
{{- end }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{/* metadata of an object: takes (list $ component name), and optionally a dict with annotations, labels, namespace. */}}
{{- define "sensor-etl.metadata" -}}
{{- $root := index . 0 -}}
{{- $more := dict }}
{{- if gt (len .) 3 }}{{ $more = index . 3 }}{{ end -}}
name: {{ index . 2 }}
namespace: {{ default $root.Release.Namespace $more.namespace }}
labels:
  {{- include "sensor-etl.labels" (list $root (index . 1) $more.labels) | nindent 2 }}
{{- with merge (dict) (default (dict) $more.annotations) (default (dict) $root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What makes Helm keep an object on uninstall, as annotations. */}}
{{- define "sensor-etl.keep" -}}
{{- if .Values.keepData }}{helm.sh/resource-policy: keep}{{ else }}{}{{ end -}}
{{- end }}

{{/* Sets the Jobs of one revision apart from those of another, since a Job cannot be changed. */}}
{{- define "sensor-etl.revision" -}}
{{ default .Release.Revision .Values.revision }}
{{- end }}

{{/* Reference of an image: takes (list $ name). A digest goes before a tag. */}}
{{- define "sensor-etl.image" -}}
{{- $root := index . 0 -}}
{{- $own := default (dict) (index $root.Values.images (index . 1)) -}}
{{- $registry := default $root.Values.image.registry $own.registry -}}
{{- $repository := default (printf "%s/%s" $root.Values.image.repository (index . 1)) $own.repository -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ $repository }}
{{- if $own.digest }}@{{ $own.digest }}{{ else }}:{{ $own.tag | default $root.Values.image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* A Secret's name: takes (list $ what-is-given default-suffix). */}}
{{- define "sensor-etl.secretName" -}}
{{- default (printf "%s-%s" (include "sensor-etl.fullname" (index . 0)) (index . 2)) (index . 1) -}}
{{- end }}
