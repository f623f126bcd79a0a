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
{{ include "sensor-etl.kafka.env" (dict "root" $root "username" (include "sensor-etl.kafka.username" (dict "root" $root "stage" $stage)) "suffix" $suffix) }}
{{- end }}
{{- if has $stage (splitList " " (include "sensor-etl.cassandra.stages" $root)) }}
{{ include "sensor-etl.cassandra.env" (dict "root" $root "suffix" $suffix) | trim }}
{{- end }}
{{- if eq $stage "transform" }}
- {name: ETL_TRANSFORM_PARTIAL, value: {{ $pipeline.partial }}}
{{- end }}
{{- if and (eq $stage "analyze") $root.Values.insight.limits }}
- {name: ETL_ANALYZE_LIMITS_FILE, value: /etc/sensor-etl/config/limits.yaml}
{{- end }}
{{- /* The test has no further topic, and its readings need no mapping. */}}
{{- if and (eq $stage "consume") $pipeline.topicMapping (not $suffix) }}
- {name: ETL_CONSUME_MAPPING_FILE, value: /etc/sensor-etl/config/topicMapping.yaml}
{{- end }}
{{- with and (eq $stage "consume") $pipeline.schemaRegistry.url }}
- {name: ETL_REGISTRY_URL, value: {{ . | quote }}}
{{- if $pipeline.schemaRegistry.caSecretName }}
- {name: ETL_REGISTRY_CA_FILE, value: /etc/sensor-etl/secrets/registry.crt}
{{- end }}
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

{{/* Environment of containers that connect to Kafka. Takes root, username, suffix. */}}
{{- define "sensor-etl.kafka.env" -}}
{{- $root := .root -}}
{{- $pipeline := $root.Values.pipeline -}}
{{- $external := $root.Values.kafka.external -}}
{{- $mechanism := include "sensor-etl.kafka.mechanism" $root -}}
- {name: ETL_KAFKA_BOOTSTRAP_SERVERS, value: {{ include "sensor-etl.kafka.bootstrapServers" $root | quote }}}
- {name: ETL_KAFKA_SECURITY_PROTOCOL, value: {{ include "sensor-etl.kafka.protocol" $root }}}
{{- if and $mechanism (ne $mechanism "SCRAM-SHA-512") }}
- {name: ETL_KAFKA_SASL_MECHANISM, value: {{ $mechanism }}}
{{- end }}
{{- if include "sensor-etl.kafka.ca" $root }}
- {name: ETL_KAFKA_CA_FILE, value: /etc/sensor-etl/kafka-ca/ca.crt}
{{- end }}
{{- if include "sensor-etl.kafka.passwords" $root }}
- {name: ETL_KAFKA_USERNAME, value: {{ .username | quote }}}
{{- end }}
{{- if include "sensor-etl.kafka.certificates" $root }}
- {name: ETL_KAFKA_CERTIFICATE_FILE, value: /etc/sensor-etl/secrets/kafka.crt}
- {name: ETL_KAFKA_KEY_FILE, value: /etc/sensor-etl/secrets/kafka.key}
{{- end }}
{{- if eq $mechanism "OAUTHBEARER" }}
- {name: ETL_KAFKA_OAUTH_TOKEN_URL, value: {{ required "kafka.external.oauthTokenUrl: where does Kafka's OAuth server give tokens?" $external.oauthTokenUrl | quote }}}
{{- with $external.oauthScope }}
- {name: ETL_KAFKA_OAUTH_SCOPE, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- if eq $mechanism "AWS_MSK_IAM" }}
- {name: ETL_KAFKA_AWS_REGION, value: {{ required "kafka.external.awsRegion: which region is the cluster in?" $external.awsRegion | quote }}}
{{- end }}
- {name: ETL_KAFKA_TOPIC, value: {{ printf "%s%s" $pipeline.topic .suffix | quote }}}
{{- if and $pipeline.moreTopics (not .suffix) }}
- {name: ETL_KAFKA_MORE_TOPICS, value: {{ join "," $pipeline.moreTopics | quote }}}
{{- end }}
- {name: ETL_KAFKA_DEAD_LETTER_TOPIC, value: {{ printf "%s%s" $pipeline.deadLetterTopic .suffix | quote }}}
- {name: ETL_KAFKA_EVENTS_TOPIC, value: {{ printf "%s%s" $pipeline.eventsTopic .suffix | quote }}}
- {name: ETL_KAFKA_GROUP, value: {{ printf "%s%s" $pipeline.group .suffix | quote }}}
{{- end }}

{{/* Environment of containers that connect to Cassandra. Takes root, suffix. */}}
{{- define "sensor-etl.cassandra.env" -}}
{{- $root := .root -}}
{{- $external := and (eq $root.Values.cassandra.mode "external") $root.Values.cassandra.external -}}
{{- if and $external $external.bundleSecretName }}
- {name: ETL_CASSANDRA_SECURE_CONNECT_BUNDLE, value: /etc/sensor-etl/secrets/bundle.zip}
{{- else }}
- {name: ETL_CASSANDRA_CONTACT_POINTS, value: {{ include "sensor-etl.cassandra.contactPoints" $root | quote }}}
- {name: ETL_CASSANDRA_PORT, value: {{ include "sensor-etl.cassandra.port" $root | quote }}}
- {name: ETL_CASSANDRA_LOCAL_DATACENTER, value: {{ $root.Values.cassandra.datacenter | quote }}}
{{- end }}
- {name: ETL_CASSANDRA_KEYSPACE, value: {{ printf "%s%s" $root.Values.pipeline.keyspace (.suffix | replace "-" "_") | quote }}}
{{- if include "sensor-etl.cassandra.ca" $root }}
- {name: ETL_CASSANDRA_CA_FILE, value: /etc/sensor-etl/cassandra-ca/ca.crt}
{{- else if not $external.bundleSecretName }}
- {name: ETL_CASSANDRA_TLS, value: "true"}
{{- end }}
{{- if and $external $external.clientCertificates (not $external.bundleSecretName) }}
- {name: ETL_CASSANDRA_CERTIFICATE_FILE, value: /etc/sensor-etl/secrets/cassandra.crt}
- {name: ETL_CASSANDRA_KEY_FILE, value: /etc/sensor-etl/secrets/cassandra.key}
{{- end }}
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
{{- if and (has $stage (splitList " " (include "sensor-etl.kafka.stages" $root))) (include "sensor-etl.kafka.ca" $root) }}
- {name: kafka-ca, mountPath: /etc/sensor-etl/kafka-ca, readOnly: true}
{{- end }}
{{- if and (has $stage (splitList " " (include "sensor-etl.cassandra.stages" $root))) (include "sensor-etl.cassandra.ca" $root) }}
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
{{- if and $kafka (include "sensor-etl.kafka.ca" $root) }}
{{ include "sensor-etl.kafka.caVolume" $root }}
{{- end }}
{{- if and $cassandra (include "sensor-etl.cassandra.ca" $root) }}
{{ include "sensor-etl.cassandra.caVolume" $root }}
{{- end }}
{{- end }}

{{/* Volume with the passwords of a stage, in files named after their settings. Takes root, stage. */}}
{{- define "sensor-etl.stage.secrets" -}}
projected:
  defaultMode: 0440
  sources:
    {{- with include "sensor-etl.stage.secretSources" . | trim }}
    {{- . | nindent 4 }}
    {{- else }} []
    {{- end }}
{{- end }}

{{- define "sensor-etl.stage.secretSources" -}}
{{- $root := .root -}}
{{- $stage := .stage -}}
{{- if has $stage (splitList " " (include "sensor-etl.kafka.stages" $root)) }}
{{ include "sensor-etl.kafka.secretSources" (dict "root" $root "name" (include "sensor-etl.kafka.userSecret" .)) | trim }}
{{- end }}
{{- if has $stage (splitList " " (include "sensor-etl.cassandra.stages" $root)) }}
{{ include "sensor-etl.cassandra.secretSources" (dict "root" $root "name" (include "sensor-etl.cassandra.roleSecret" .)) | trim }}
{{- end }}
{{- with and (eq $stage "consume") $root.Values.pipeline.schemaRegistry.url $root.Values.pipeline.schemaRegistry }}
{{- if .secretName }}
- secret:
    name: {{ .secretName }}
    items:
      - {key: username, path: etl_registry_username}
      - {key: password, path: etl_registry_password}
{{- end }}
{{- if .caSecretName }}
- secret:
    name: {{ .caSecretName }}
    items:
      - {key: ca.crt, path: registry.crt}
{{- end }}
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

{{/* Sources of a volume: what a client of Kafka logs in with. Takes root, name (of the Secret). */}}
{{- define "sensor-etl.kafka.secretSources" -}}
{{- $root := .root -}}
{{- if include "sensor-etl.kafka.passwords" $root }}
- secret:
    name: {{ .name }}
    items:
      - {key: password, path: etl_kafka_password}
{{- end }}
{{- if eq (include "sensor-etl.kafka.mechanism" $root) "OAUTHBEARER" }}
- secret:
    name: {{ .name }}
    items:
      - {key: client-id, path: etl_kafka_oauth_client_id}
      - {key: client-secret, path: etl_kafka_oauth_client_secret}
{{- end }}
{{- if include "sensor-etl.kafka.certificates" $root }}
{{ include "sensor-etl.certificateSources" (dict "name" .name "service" "kafka") }}
{{- end }}
{{- end }}

{{/* The same for Cassandra. */}}
{{- define "sensor-etl.cassandra.secretSources" -}}
{{- $cassandra := .root.Values.cassandra -}}
- secret:
    name: {{ .name }}
    items:
      - {key: username, path: etl_cassandra_username}
      - {key: password, path: etl_cassandra_password}
{{- if eq $cassandra.mode "external" }}
{{- if $cassandra.external.clientCertificates }}
{{ include "sensor-etl.certificateSources" (dict "name" .name "service" "cassandra") }}
{{- end }}
{{- with $cassandra.external.bundleSecretName }}
- secret:
    name: {{ . }}
    items:
      - {key: bundle, path: bundle.zip}
{{- end }}
{{- end }}
{{- end }}

{{/* Sources of a client certificate. Takes name (of the Secret), service. */}}
{{- define "sensor-etl.certificateSources" -}}
- secret:
    name: {{ .name }}
    items:
      - {key: tls.crt, path: {{ .service }}.crt}
      - {key: tls.key, path: {{ .service }}.key}
# Only a key that is encrypted has a password.
- secret:
    name: {{ .name }}
    optional: true
    items:
      - {key: key-password, path: etl_{{ .service }}_key_password}
{{- end }}

{{- define "sensor-etl.kafka.caVolume" -}}
{{ include "sensor-etl.caVolume" (dict "name" "kafka-ca" "secret" (include "sensor-etl.kafka.caSecret" .) "configMap" .Values.kafka.caConfigMapName) }}
{{- end }}

{{- define "sensor-etl.cassandra.caVolume" -}}
{{ include "sensor-etl.caVolume" (dict "name" "cassandra-ca" "secret" (include "sensor-etl.cassandra.caSecret" .) "configMap" .Values.cassandra.caConfigMapName) }}
{{- end }}

{{/* Volume with a CA. Takes name, secret, configMap (may be empty). */}}
{{- define "sensor-etl.caVolume" -}}
- name: {{ .name }}
  {{- if .configMap }}
  configMap:
    name: {{ .configMap }}
  {{- else }}
  secret:
    secretName: {{ .secret }}
  {{- end }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}

{{/* The whole pod, as the DAG starts it. Takes root, stage. */}}
{{- define "sensor-etl.stage.pod" -}}
{{- $root := .root -}}
{{- $stage := .stage -}}
{{- $values := include "sensor-etl.stage.values" . | fromYaml -}}
{{- $workspace := and (not $root.Values.workspace.url) (ne $stage "analyze") -}}
{{- with $root.Values.pipeline.kueueQueue -}}
{{- $_ := set $values "podLabels" (merge (dict "kueue.x-k8s.io/queue-name" .) $values.podLabels) -}}
{{- end -}}
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
