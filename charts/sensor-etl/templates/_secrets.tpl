{{/* Secrets that neither this chart nor an operator creates, as a space-separated list of namespace/name: those
     that the values name, and those of external services. */}}
{{- define "sensor-etl.awaitedSecrets" -}}
{{- $root := . }}
{{- $kafka := .Values.kafka }}
{{- $cassandra := .Values.cassandra }}
{{- $names := list }}
{{- $users := splitList " " (include "sensor-etl.kafka.stages" .) }}
{{- if eq $kafka.mode "standalone" }}
{{- $names = append $names $kafka.adminSecretName }}
{{- else if or (eq $kafka.mode "strimzi") .Values.schema.enabled }}
{{- $users = append $users "schema" }}
{{- end }}
{{- $login := or (include "sensor-etl.kafka.passwords" .) (include "sensor-etl.kafka.certificates" .) (eq (include "sensor-etl.kafka.mechanism" .) "OAUTHBEARER") }}
{{- range ternary $users list (not (empty $login)) }}
{{- if or (eq $kafka.mode "external") (get $kafka.users .) }}{{ $names = append $names (include "sensor-etl.kafka.userSecret" (dict "root" $root "stage" .)) }}{{ end }}
{{- end }}
{{- range splitList " " (include "sensor-etl.cassandra.stages" .) }}
{{- if or (eq $cassandra.mode "external") (get $cassandra.roles .) }}{{ $names = append $names (include "sensor-etl.cassandra.roleSecret" (dict "root" $root "stage" .)) }}{{ end }}
{{- end }}
{{- if and (eq $kafka.mode "external") (include "sensor-etl.kafka.ca" .) (not $kafka.caConfigMapName) }}{{ $names = append $names (include "sensor-etl.kafka.caSecret" .) }}{{ end }}
{{- if eq $cassandra.mode "external" }}
{{- $names = append $names $cassandra.external.bundleSecretName }}
{{- if and (include "sensor-etl.cassandra.ca" .) (not $cassandra.caConfigMapName) }}{{ $names = append $names (include "sensor-etl.cassandra.caSecret" .) }}{{ end }}
{{- end }}
{{- if and (eq $cassandra.mode "external") .Values.schema.enabled }}
{{- $names = append $names (include "sensor-etl.cassandra.superuserSecret" .) }}
{{- else if ne $cassandra.mode "external" }}
{{- $names = append $names $cassandra.superuserSecretName }}
{{- end }}
{{- with .Values.airflow }}
{{- if .enabled }}
{{- $names = concat $names (list .adminSecretName .fernetKeySecretName .apiSecretKeySecretName .jwtSecretName .data.metadataSecretName) }}
{{- if .postgresql.enabled }}{{ $names = append $names .postgresql.auth.existingSecret }}{{ end }}
{{- end }}
{{- end }}
{{- with .Values.pipeline.schemaRegistry }}
{{- if .url }}{{ $names = append (append $names .secretName) .caSecretName }}{{ end }}
{{- end }}
{{- if .Values.insight.enabled }}{{ $names = append $names .Values.insight.webhookSecretName }}{{ end }}
{{- if and (include "sensor-etl.page" .) .Values.page.auth.enabled }}{{ $names = append $names .Values.page.auth.existingSecret }}{{ end }}
{{- $all := list }}
{{- range uniq (compact $names) }}{{ $all = append $all (printf "%s/%s" $root.Release.Namespace .) }}{{ end }}
{{- $there := include "sensor-etl.cassandra.namespace" . }}
{{- if eq $cassandra.mode "k8ssandra" }}
{{- $stores := ternary .Values.certificates.certManager.storesSecretName "" .Values.certificates.certManager.enabled }}
{{- range compact (list $cassandra.superuserSecretName $stores) }}{{ $all = append $all (printf "%s/%s" $there .) }}{{ end }}
{{- end }}
{{- uniq $all | join " " }}
{{- end }}
