{{/* Fail with a clear message if the cluster has no resource of a kind. Every cluster serves apiregistration.k8s.io;
     without a cluster, as in `helm template`, nothing is known. Takes root, api (group/version/kind), value. */}}
{{- define "sensor-etl.requireApi" -}}
{{- $known := .root.Capabilities.APIVersions -}}
{{- if and ($known.Has "apiregistration.k8s.io/v1") (not ($known.Has .api)) -}}
{{- fail (printf "%s: the cluster does not know %s: install its operator or resource definitions first, or change this value" .value .api) -}}
{{- end -}}
{{- end }}
