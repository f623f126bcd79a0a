{{/* Parts that Airflow's components share. Variables have the names of the official chart. */}}

{{/* Variables of a component. Takes root, env (further variables of the component, as YAML text). */}}
{{- define "sensor-etl.airflow.env" -}}
{{- $root := .root -}}
{{- $theirs := list }}
{{- range $section, $entries := $root.Values.airflow.config }}
{{- range $key, $value := $entries }}
{{- $theirs = append $theirs (dict "name" (printf "AIRFLOW__%s__%s" (upper $section) (upper $key)) "value" (toString $value)) }}
{{- end }}
{{- end }}
{{- $ours := printf "%s\n%s" (include "sensor-etl.airflow.commonEnv" $root) .env }}
{{- include "sensor-etl.env" (dict "chart" $ours "user" (concat $theirs $root.Values.airflow.env)) }}
{{- end }}

{{- define "sensor-etl.airflow.commonEnv" -}}
{{- $name := include "sensor-etl.fullname" . -}}
{{- if .Values.airflow.data.metadataSecretName }}
- name: AIRFLOW__DATABASE__SQL_ALCHEMY_CONN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.airflow.data.metadataSecretName }}
      key: connection
{{- else }}
- {name: AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, value: postgresql+psycopg2://airflow@{{ $name }}-postgresql.{{ .Release.Namespace }}.svc:5432/airflow}
{{- end }}
{{- if .Values.airflow.postgresql.enabled }}
# Both database drivers of Airflow read these variables. In the URL, a password would need quoting, and each driver
# has its own names for the other two.
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "sensor-etl.secretName" (dict "root" . "name" .Values.airflow.postgresql.auth.existingSecret "default" "postgresql") }}
      key: password
- {name: PGSSLMODE, value: verify-full}
- {name: PGSSLROOTCERT, value: /etc/airflow/database-ca/ca.crt}
{{- end }}
- name: AIRFLOW__CORE__FERNET_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "sensor-etl.secretName" (dict "root" . "name" .Values.airflow.fernetKeySecretName "default" "fernet-key") }}
      key: fernet-key
- name: AIRFLOW__API__SECRET_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "sensor-etl.secretName" (dict "root" . "name" .Values.airflow.apiSecretKeySecretName "default" "api-secret-key") }}
      key: api-secret-key
- {name: AIRFLOW__CORE__EXECUTOR, value: LocalExecutor}
- {name: AIRFLOW__CORE__PARALLELISM, value: {{ .Values.airflow.scheduler.parallelism | quote }}}
- {name: AIRFLOW__CORE__LOAD_EXAMPLES, value: "False"}
- {name: AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION, value: "False"}
- {name: AIRFLOW__CORE__EXECUTION_API_SERVER_URL, value: http://{{ $name }}-airflow-api-server:{{ .Values.airflow.apiServer.service.port }}/execution/}
# The API server fetches logs from the scheduler by its host name, which each later scheduler pod has too.
- {name: AIRFLOW__CORE__HOSTNAME_CALLABLE, value: airflow.utils.net.getfqdn}
- name: SENSOR_ETL_ADMIN
  valueFrom:
    secretKeyRef:
      name: {{ include "sensor-etl.secretName" (dict "root" . "name" .Values.airflow.adminSecretName "default" "airflow-admin") }}
      key: username
- {name: AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS, value: "$(SENSOR_ETL_ADMIN):admin"}
- {name: AIRFLOW__LOGGING__BASE_LOG_FOLDER, value: /opt/airflow/logs}
- {name: AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK, value: "True"}
# Airflow finds a task whose process died after seconds, not minutes. The retry of the task finds its pod.
- {name: AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL, value: "20"}
- {name: AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT, value: "60"}
- {name: SENSOR_ETL_DAG_CONFIG, value: /opt/sensor-etl}
{{- end }}

{{/* Secret that signs the tokens of tasks, only for components that sign or check them. */}}
{{- define "sensor-etl.airflow.jwtEnv" -}}
- name: AIRFLOW__API_AUTH__JWT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ include "sensor-etl.secretName" (dict "root" . "name" .Values.airflow.jwtSecretName "default" "jwt-secret") }}
      key: jwt-secret
{{- end }}

{{- define "sensor-etl.airflow.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: logs, mountPath: /opt/airflow/logs}
{{- if .Values.airflow.postgresql.enabled }}
- {name: database-ca, mountPath: /etc/airflow/database-ca, readOnly: true}
{{- end }}
{{- with .Values.airflow.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Volumes of a component. Takes root, keepLogs (true where the component writes the logs of tasks). */}}
{{- define "sensor-etl.airflow.volumes" -}}
{{- $root := .root -}}
{{- $logs := $root.Values.airflow.logs.persistence -}}
- name: tmp
  emptyDir: {}
- name: logs
  {{- if and .keepLogs $logs.enabled }}
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-airflow-logs" (include "sensor-etl.fullname" $root)) $logs.existingClaim }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- if $root.Values.airflow.postgresql.enabled }}
- name: database-ca
  secret:
    secretName: {{ include "sensor-etl.postgresql.caSecret" $root }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- with $root.Values.airflow.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A container of Airflow. Takes root, args (arguments of the command `airflow`). */}}
{{- define "sensor-etl.airflow.container" -}}
{{ include "sensor-etl.container" (dict "root" .root "image" "airflow") }}
args: {{ toJson .args }}
{{- with .root.Values.airflow.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Init container that waits until the migration Job of this revision has migrated the database. */}}
{{- define "sensor-etl.airflow.waitForMigration" -}}
- name: wait-for-migration
  {{- include "sensor-etl.airflow.container" (dict "root" . "args" (list "db" "check-migrations" "--migration-wait-timeout" "600")) | nindent 2 }}
  env:
    {{- include "sensor-etl.airflow.env" (dict "root" . "env" "") | nindent 4 }}
  volumeMounts:
    {{- include "sensor-etl.airflow.volumeMounts" . | nindent 4 }}
  resources:
    {{- include "sensor-etl.airflow.waitResources" . | nindent 4 }}
{{- end }}

{{- define "sensor-etl.airflow.waitResources" -}}
requests: {cpu: 10m, memory: 64Mi}
limits: {memory: 512Mi}
{{- end }}
