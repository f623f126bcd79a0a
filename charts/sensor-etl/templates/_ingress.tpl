{{/* An Ingress that leads to the Service of a component: takes (list $ component name-in-values). */}}
{{- define "sensor-etl.ingress" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $ingress := get $root.Values.ingress (index . 2) -}}
{{- if not $ingress.hosts }}{{ fail (printf "ingress.%s.hosts: name at least one" (index . 2)) }}{{ end -}}
{{- $service := printf "%s-%s" (include "sensor-etl.fullname" $root) $component -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "sensor-etl.metadata" (list $root $component $service (dict "annotations" $ingress.annotations)) | nindent 2 }}
spec:
  {{- with $ingress.ingressClassName }}
  ingressClassName: {{ . }}
  {{- end }}
  tls:
    {{- range $ingress.hosts }}
    {{- if dig "tls" "enabled" false . }}
    - hosts: [{{ .name | quote }}]
      secretName: {{ .tls.secretName }}
    {{- end }}
    {{- end }}
  rules:
    {{- range $ingress.hosts }}
    - host: {{ .name | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ $service }}
                port:
                  name: http
    {{- end }}
{{- end }}
