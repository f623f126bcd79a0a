{{/* An Ingress for the Service of a component. Takes root, component, key (its name in the values). */}}
{{- define "sensor-etl.ingress" -}}
{{- $root := .root -}}
{{- $ingress := get $root.Values.ingress .key -}}
{{- if not $ingress.hosts }}{{ fail (printf "ingress.%s.hosts: name at least one" .key) }}{{ end -}}
{{- $service := printf "%s-%s" (include "sensor-etl.fullname" $root) .component -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "sensor-etl.metadata" (dict "root" $root "component" .component "name" $service "annotations" $ingress.annotations) | nindent 2 }}
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
