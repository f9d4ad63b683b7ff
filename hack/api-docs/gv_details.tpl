{{- define "gvDetails" }}
## {{ .GroupVersionString }}

{{ template "prose" (regexReplaceAll "^Package \\w+" .Doc "This group") }}
{{ range .SortedTypes }}{{ if .GVK }}{{ template "type" . }}{{ end }}{{ end }}
{{- range .SortedTypes }}{{ if not .GVK }}{{ template "type" . }}{{ end }}{{ end }}
{{- end -}}
