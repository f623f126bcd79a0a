{{/* The pod of a stage: one definition for the DAG, the schema Job and `helm test`. Analysis and page use most of it too,
     so `stage` is also `analyze` or `page`. */}}

{{/* Values of a stage: its own override those of all stages. Takes root, stage. */}}
{{- define "sensor-etl.stage.values" -}}
{{- if eq .stage "analyze" -}}
{{- .root.Values.insight.analyze | toYaml -}}
{{- else -}}
{{- $own := default (dict) (get .root.Values.stages .stage) -}}
{{- mergeOverwrite (deepCopy (omit .root.Values.stages "generate" "produce" "consume" "transform" "load")) (deepCopy $own) | toYaml -}}
{{- end -}}
{{- end }}

{{/* Name of the ServiceAccount of a stage. Takes root, stage. */}}
{{- define "sensor-etl.stage.serviceAccount" -}}
{{- default (printf "%s-%s" (include "sensor-etl.fullname" .root) .stage) .root.Values.stages.serviceAccount.name -}}
{{- end }}

{{/* Environment of a stage. Takes root, stage, suffix; the suffix separates `helm test` from the pipeline. */}}
{{- define "sensor-etl.stage.env" -}}
{{- $root := .root -}}
{{- $stage := .stage -}}
{{- $suffix := .suffix -}}
{{- $pipeline := $root.Values.pipeline -}}
{{- $runs := has $stage (splitList " " (include "sensor-etl.stages" $root)) -}}
{{- if ne $stage "generate" }}
- {name: ETL_SECRETS_DIR, value: /etc/sensor-etl/secrets}
{{- end }}
{{- if $runs }}
- {name: ETL_WORKSPACE_URL, value: {{ ternary "/workspace" (default "/workspace" $root.Values.workspace.url) (ne $suffix "") | quote }}}
- {name: ETL_KEEP_RUNS, value: {{ $root.Values.workspace.keepRuns | quote }}}
{{- end }}
{{- if $pipeline.measurements }}
- {name: ETL_MEASUREMENTS_FILE, value: /etc/sensor-etl/config/measurements.yaml}
{{- end }}
{{- with and $runs $root.Values.metrics.otlpEndpoint }}
- {name: ETL_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- if has $stage (splitList " " (include "sensor-etl.kafka.stages" $root)) }}
- {name: ETL_KAFKA_BOOTSTRAP_SERVERS, value: {{ include "sensor-etl.kafka.bootstrapServers" $root | quote }}}
- {name: ETL_KAFKA_SECURITY_PROTOCOL, value: SASL_SSL}
- {name: ETL_KAFKA_CA_FILE, value: /etc/sensor-etl/kafka-ca/ca.crt}
- {name: ETL_KAFKA_USERNAME, value: {{ include "sensor-etl.kafka.username" (dict "root" $root "stage" $stage) | quote }}}
- {name: ETL_KAFKA_TOPIC, value: {{ printf "%s%s" $pipeline.topic $suffix | quote }}}
- {name: ETL_KAFKA_DEAD_LETTER_TOPIC, value: {{ printf "%s%s" $pipeline.deadLetterTopic $suffix | quote }}}
- {name: ETL_KAFKA_EVENTS_TOPIC, value: {{ printf "%s%s" $pipeline.eventsTopic $suffix | quote }}}
- {name: ETL_KAFKA_GROUP, value: {{ printf "%s%s" $pipeline.group $suffix | quote }}}
{{- end }}
{{- if has $stage (splitList " " (include "sensor-etl.cassandra.stages" $root)) }}
{{ include "sensor-etl.cassandra.env" (dict "root" $root "suffix" $suffix) }}
{{- end }}
{{- if and (eq $stage "analyze") $root.Values.insight.limits }}
- {name: ETL_ANALYZE_LIMITS_FILE, value: /etc/sensor-etl/config/limits.yaml}
{{- end }}
{{- if and (eq $stage "consume") $pipeline.topicMapping }}
- {name: ETL_CONSUME_MAPPING_FILE, value: /etc/sensor-etl/config/topicMapping.yaml}
{{- end }}
{{- if eq $stage "generate" }}
{{- if $pipeline.catalogue }}
- {name: ETL_GENERATE_CATALOGUE_FILE, value: /etc/sensor-etl/config/catalogue.yaml}
{{- end }}
{{- if $pipeline.mapping }}
- {name: ETL_GENERATE_MAPPING_FILE, value: /etc/sensor-etl/config/mapping.yaml}
{{- end }}
{{- end }}
{{- end }}

{{/* Environment of containers that connect to Cassandra. Takes root, suffix. */}}
{{- define "sensor-etl.cassandra.env" -}}
{{- $root := .root -}}
- {name: ETL_CASSANDRA_CONTACT_POINTS, value: {{ include "sensor-etl.cassandra.contactPoints" $root | quote }}}
- {name: ETL_CASSANDRA_PORT, value: {{ include "sensor-etl.cassandra.port" $root | quote }}}
- {name: ETL_CASSANDRA_LOCAL_DATACENTER, value: {{ $root.Values.cassandra.datacenter | quote }}}
- {name: ETL_CASSANDRA_KEYSPACE, value: {{ printf "%s%s" $root.Values.pipeline.keyspace (.suffix | replace "-" "_") | quote }}}
- {name: ETL_CASSANDRA_CA_FILE, value: /etc/sensor-etl/cassandra-ca/ca.crt}
{{- end }}

{{/* Volume mounts of a stage, except the workspace. Takes root, stage. */}}
{{- define "sensor-etl.stage.volumeMounts" -}}
{{- $root := .root -}}
{{- $stage := .stage -}}
- {name: tmp, mountPath: /tmp}
{{- if ne $stage "generate" }}
- {name: secrets, mountPath: /etc/sensor-etl/secrets, readOnly: true}
{{- end }}
- {name: config, mountPath: /etc/sensor-etl/config, readOnly: true}
{{- if has $stage (splitList " " (include "sensor-etl.kafka.stages" $root)) }}
- {name: kafka-ca, mountPath: /etc/sensor-etl/kafka-ca, readOnly: true}
{{- end }}
{{- if has $stage (splitList " " (include "sensor-etl.cassandra.stages" $root)) }}
- {name: cassandra-ca, mountPath: /etc/sensor-etl/cassandra-ca, readOnly: true}
{{- end }}
{{- end }}

{{/* Volumes of a stage, except the workspace. Takes root, stage. */}}
{{- define "sensor-etl.stage.volumes" -}}
{{- $root := .root -}}
{{- $stage := .stage -}}
{{- $kafka := has $stage (splitList " " (include "sensor-etl.kafka.stages" $root)) -}}
{{- $cassandra := has $stage (splitList " " (include "sensor-etl.cassandra.stages" $root)) -}}
- name: tmp
  emptyDir: {}
- name: config
  configMap:
    name: {{ include "sensor-etl.fullname" $root }}-config
{{- if or $kafka $cassandra }}
- name: secrets
  {{- include "sensor-etl.stage.secrets" . | nindent 2 }}
{{- end }}
{{- if $kafka }}
{{ include "sensor-etl.kafka.caVolume" $root }}
{{- end }}
{{- if $cassandra }}
{{ include "sensor-etl.cassandra.caVolume" $root }}
{{- end }}
{{- end }}

{{/* Volume with the passwords of a stage, in files named after their settings. Takes root, stage. */}}
{{- define "sensor-etl.stage.secrets" -}}
{{- $root := .root -}}
{{- $stage := .stage -}}
projected:
  defaultMode: 0440
  sources:
    {{- if has $stage (splitList " " (include "sensor-etl.kafka.stages" $root)) }}
    - secret:
        name: {{ include "sensor-etl.kafka.userSecret" . }}
        items:
          - {key: password, path: etl_kafka_password}
    {{- end }}
    {{- if has $stage (splitList " " (include "sensor-etl.cassandra.stages" $root)) }}
    - secret:
        name: {{ include "sensor-etl.cassandra.roleSecret" . }}
        items:
          - {key: username, path: etl_cassandra_username}
          - {key: password, path: etl_cassandra_password}
    {{- end }}
    {{- with and (eq $stage "analyze") $root.Values.insight.webhookSecretName }}
    - secret:
        name: {{ . }}
        items:
          - {key: url, path: etl_analyze_webhook}
    {{- end }}
    {{- if and (eq $stage "page") $root.Values.page.auth.enabled }}
    - secret:
        name: {{ include "sensor-etl.page.secret" $root }}
        items:
          - {key: password, path: etl_page_password}
    {{- end }}
{{- end }}

{{- define "sensor-etl.kafka.caVolume" -}}
- name: kafka-ca
  secret:
    secretName: {{ include "sensor-etl.kafka.caSecret" . }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}

{{- define "sensor-etl.cassandra.caVolume" -}}
- name: cassandra-ca
  secret:
    secretName: {{ include "sensor-etl.cassandra.caSecret" . }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}

{{/* The whole pod, as the DAG starts it. Takes root, stage. */}}
{{- define "sensor-etl.stage.pod" -}}
{{- $root := .root -}}
{{- $stage := .stage -}}
{{- $values := include "sensor-etl.stage.values" . | fromYaml -}}
{{- $workspace := and (not $root.Values.workspace.url) (ne $stage "analyze") -}}
apiVersion: v1
kind: Pod
metadata:
  namespace: {{ $root.Release.Namespace }}
  {{- include "sensor-etl.podMetadata" (dict "root" $root "component" $stage "values" $values) | nindent 2 }}
spec:
  {{- include "sensor-etl.podSpec" (dict "root" $root "values" $values "user" 10001 "group" 10001) | nindent 2 }}
  serviceAccountName: {{ include "sensor-etl.stage.serviceAccount" . }}
  restartPolicy: Never
  # Airflow ends a try earlier. Without a scheduler, as after an uninstall, nothing else would end the pod.
  activeDeadlineSeconds: {{ add $root.Values.pipeline.executionTimeoutSeconds $root.Values.pipeline.startupTimeoutSeconds | max 1 }}
  containers:
    - name: base
      {{- include "sensor-etl.container" (dict "root" $root "image" $stage) | nindent 6 }}
      args: [{{ $stage }}]
      env:
        {{- include "sensor-etl.env" (dict "chart" (include "sensor-etl.stage.env" (dict "root" $root "stage" $stage "suffix" "")) "user" $values.env) | nindent 8 }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- include "sensor-etl.stage.volumeMounts" . | nindent 8 }}
        {{- if $workspace }}
        # The DAG knows the run and mounts the folder of this stage for writing. Only load writes elsewhere: it removes
        # old runs.
        - {name: workspace, mountPath: /workspace, readOnly: {{ ne $stage "load" }}}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
  volumes:
    {{- include "sensor-etl.stage.volumes" . | nindent 4 }}
    {{- if $workspace }}
    - name: workspace
      persistentVolumeClaim:
        claimName: {{ include "sensor-etl.workspace.claim" $root }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "sensor-etl.workspace.claim" -}}
{{- default (printf "%s-workspace" (include "sensor-etl.fullname" .)) .Values.workspace.existingClaim -}}
{{- end }}
