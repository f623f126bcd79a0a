{{/* Addresses and Secrets of Kafka, Cassandra and the database. Their names are the same in each mode. */}}

{{- define "sensor-etl.kafka.bootstrapServers" -}}
{{- if eq .Values.kafka.mode "external" -}}
{{ required "kafka.external.bootstrapServers: where is Kafka?" .Values.kafka.external.bootstrapServers }}
{{- else -}}
{{ include "sensor-etl.fullname" . }}-kafka-bootstrap.{{ .Release.Namespace }}.svc:9093
{{- end -}}
{{- end }}

{{/* Replicas of the topics; empty where `etl schema` asks Kafka for the number of brokers. An existing topic keeps its
     replicas, because Strimzi cannot change them by itself. */}}
{{- define "sensor-etl.kafka.replication" -}}
{{- $wanted := .Values.pipeline.schema.kafkaReplication -}}
{{- if $wanted -}}
{{ int $wanted }}
{{- else if eq .Values.kafka.mode "strimzi" -}}
{{- $topic := lookup "kafka.strimzi.io/v1" "KafkaTopic" .Release.Namespace (printf "%s-readings" (include "sensor-etl.fullname" .)) -}}
{{ dig "spec" "replicas" (min 3 (int .Values.kafka.strimzi.replicas)) $topic | int }}
{{- end -}}
{{- end }}

{{/* Replication of the keyspace; empty where `etl schema` asks Cassandra for the number of nodes. */}}
{{- define "sensor-etl.cassandra.replication" -}}
{{- if .Values.pipeline.schema.cassandraReplication -}}
{{ .Values.pipeline.schema.cassandraReplication }}
{{- else if eq .Values.cassandra.mode "k8ssandra" -}}
{'class': 'NetworkTopologyStrategy', '{{ .Values.cassandra.datacenter }}': {{ min 3 (int .Values.cassandra.k8ssandra.size) }}}
{{- end -}}
{{- end }}

{{- define "sensor-etl.kafka.caSecret" -}}
{{- $made := ternary "kafka-tls" "cluster-ca-cert" (and .Values.certificates.certManager.enabled (eq .Values.kafka.mode "standalone")) -}}
{{- include "sensor-etl.secretName" (dict "root" . "name" .Values.kafka.caSecretName "default" $made) -}}
{{- end }}

{{/* Security protocol of Kafka's clients: each mode but external uses SASL_SSL with SCRAM-SHA-512. */}}
{{- define "sensor-etl.kafka.protocol" -}}
{{ ternary .Values.kafka.external.securityProtocol "SASL_SSL" (eq .Values.kafka.mode "external") }}
{{- end }}

{{/* SASL mechanism, or empty without SASL. */}}
{{- define "sensor-etl.kafka.mechanism" -}}
{{- if hasPrefix "SASL_" (include "sensor-etl.kafka.protocol" .) -}}
{{ ternary .Values.kafka.external.saslMechanism "SCRAM-SHA-512" (eq .Values.kafka.mode "external") }}
{{- end -}}
{{- end }}

{{/* `true` where Kafka's clients have a user name and a password. */}}
{{- define "sensor-etl.kafka.passwords" -}}
{{- $mechanism := include "sensor-etl.kafka.mechanism" . -}}
{{ if or (hasPrefix "SCRAM-" $mechanism) (eq $mechanism "PLAIN") }}true{{ end }}
{{- end }}

{{/* `true` where Kafka's clients have a certificate of their own. */}}
{{- define "sensor-etl.kafka.certificates" -}}
{{ if and (eq .Values.kafka.mode "external") .Values.kafka.external.clientCertificates }}true{{ end }}
{{- end }}

{{/* `true` where the CA of the brokers comes from a Secret. */}}
{{- define "sensor-etl.kafka.ca" -}}
{{- $system := and (eq .Values.kafka.mode "external") .Values.kafka.external.systemCa -}}
{{ if and (hasSuffix "SSL" (include "sensor-etl.kafka.protocol" .)) (not $system) }}true{{ end }}
{{- end }}

{{/* `true` where the CA of the nodes comes from a Secret. */}}
{{- define "sensor-etl.cassandra.ca" -}}
{{- $external := .Values.cassandra.external -}}
{{ if not (and (eq .Values.cassandra.mode "external") (or $external.systemCa $external.bundleSecretName)) }}true{{ end }}
{{- end }}

{{/* Secret of a SCRAM user; its name is also that of the user, unless Kafka is external. Takes root, stage. */}}
{{- define "sensor-etl.kafka.userSecret" -}}
{{- include "sensor-etl.secretName" (dict "root" .root "name" (get .root.Values.kafka.users .stage) "default" (printf "kafka-%s" .stage)) -}}
{{- end }}

{{/* Name of a SCRAM user. Takes root, stage. */}}
{{- define "sensor-etl.kafka.username" -}}
{{- $kafka := .root.Values.kafka -}}
{{- if and (eq $kafka.mode "external") (get $kafka.usernames .stage) -}}
{{ get $kafka.usernames .stage }}
{{- else -}}
{{ include "sensor-etl.fullname" .root }}-kafka-{{ .stage }}
{{- end -}}
{{- end }}

{{/* Secret of the administrator of a standalone Kafka. */}}
{{- define "sensor-etl.kafka.adminSecret" -}}
{{- include "sensor-etl.secretName" (dict "root" . "name" .Values.kafka.adminSecretName "default" "kafka-admin") -}}
{{- end }}

{{- define "sensor-etl.cassandra.namespace" -}}
{{- if eq .Values.cassandra.mode "k8ssandra" -}}
{{ default .Release.Namespace .Values.cassandra.k8ssandra.namespace }}
{{- else -}}
{{ .Release.Namespace }}
{{- end -}}
{{- end }}

{{- define "sensor-etl.cassandra.service" -}}
{{ include "sensor-etl.fullname" . }}-{{ .Values.cassandra.datacenter }}-service
{{- end }}

{{- define "sensor-etl.cassandra.contactPoints" -}}
{{- if eq .Values.cassandra.mode "external" -}}
{{ required "cassandra.external.contactPoints: where is Cassandra?" .Values.cassandra.external.contactPoints }}
{{- else -}}
{{ include "sensor-etl.cassandra.service" . }}.{{ include "sensor-etl.cassandra.namespace" . }}.svc
{{- end -}}
{{- end }}

{{- define "sensor-etl.cassandra.port" -}}
{{- if eq .Values.cassandra.mode "external" }}{{ .Values.cassandra.external.port }}{{ else }}9042{{ end -}}
{{- end }}

{{- define "sensor-etl.cassandra.caSecret" -}}
{{- if and .Values.certificates.certManager.enabled (not .Values.cassandra.caSecretName) (not .Values.cassandra.caConfigMapName) (ne (include "sensor-etl.cassandra.namespace" .) .Release.Namespace) -}}
{{- fail "cassandra.caSecretName: with cert-manager and a namespace of its own for Cassandra, name a Secret here (or a ConfigMap in caConfigMapName) that has the issuer's ca.crt" -}}
{{- end -}}
{{- $made := ternary "cassandra-tls" "cassandra-ca-cert" (and .Values.certificates.certManager.enabled (ne .Values.cassandra.mode "external")) -}}
{{- include "sensor-etl.secretName" (dict "root" . "name" .Values.cassandra.caSecretName "default" $made) -}}
{{- end }}

{{- define "sensor-etl.cassandra.superuserSecret" -}}
{{- include "sensor-etl.secretName" (dict "root" . "name" .Values.cassandra.superuserSecretName "default" "superuser") -}}
{{- end }}

{{/* Secret with the password of the Java stores that cert-manager creates for K8ssandra. */}}
{{- define "sensor-etl.cassandra.storesSecret" -}}
{{- include "sensor-etl.secretName" (dict "root" . "name" .Values.certificates.certManager.storesSecretName "default" "cassandra-tls-stores") -}}
{{- end }}

{{/* Secret of a role. Takes root, stage. */}}
{{- define "sensor-etl.cassandra.roleSecret" -}}
{{- include "sensor-etl.secretName" (dict "root" .root "name" (get .root.Values.cassandra.roles .stage) "default" (printf "cassandra-%s" .stage)) -}}
{{- end }}

{{/* File with key and certificate: the certificates Job and cert-manager give it different names. */}}
{{- define "sensor-etl.keystorePem" -}}
{{ ternary "tls-combined.pem" "keystore.pem" .Values.certificates.certManager.enabled }}
{{- end }}

{{- define "sensor-etl.postgresql.caSecret" -}}
{{ include "sensor-etl.fullname" . }}-postgresql-{{ ternary "tls" "ca-cert" .Values.certificates.certManager.enabled }}
{{- end }}

{{/* The stages in their order, as a space-separated list. */}}
{{- define "sensor-etl.stages" -}}generate produce consume transform load{{- end }}

{{/* The stages whose pods the DAGs start, as a space-separated list. */}}
{{- define "sensor-etl.launched" -}}
{{ include "sensor-etl.stages" . }}{{ if .Values.insight.enabled }} analyze{{ end }}
{{- end }}

{{/* `page`, or empty where the page is disabled. */}}
{{- define "sensor-etl.page" -}}
{{ if and .Values.insight.enabled .Values.page.enabled }}page{{ end }}
{{- end }}

{{/* The users of each service, as space-separated lists; a test keeps them equal to the access table. */}}
{{- define "sensor-etl.kafka.stages" -}}
produce consume load{{ if .Values.insight.enabled }} analyze{{ end }}{{ if .Values.pipeline.startOnRecords }} watch{{ end }}
{{- end }}
{{- define "sensor-etl.cassandra.stages" -}}
transform load{{ if .Values.insight.enabled }} analyze{{ end }}{{ with include "sensor-etl.page" . }} {{ . }}{{ end }}
{{- end }}

{{/* URL under which browsers open the page; empty where it is unknown. */}}
{{- define "sensor-etl.page.url" -}}
{{- if include "sensor-etl.page" . -}}
{{- with .Values.page.url -}}
{{ . }}
{{- else -}}
{{- if .Values.ingress.page.enabled -}}
{{- with first .Values.ingress.page.hosts }}http{{ if dig "tls" "enabled" false . }}s{{ end }}://{{ .name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Secret with the password of the page. */}}
{{- define "sensor-etl.page.secret" -}}
{{- include "sensor-etl.secretName" (dict "root" . "name" .Values.page.auth.existingSecret "default" "page") -}}
{{- end }}
