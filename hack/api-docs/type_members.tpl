{{- define "type_members" }}{{ if not (has .Name (list "apiVersion" "kind")) }}
{{- $limits := list }}
{{- range .Validation }}
{{- if eq . "Required: {}" }}{{ $limits = prepend $limits "required" }}
{{- else if or (eq . "Optional: {}") (contains "XValidation" .) (hasPrefix "Enum: " .) }}
{{- else }}{{ $limits = append $limits . }}{{ end }}
{{- end }}
{{- /* Types of ours say their rules themselves. */ -}}
{{- if not (contains "stormcell" (toString .Type)) }}{{ range index .Markers "kubebuilder:validation:XValidation" }}{{ $limits = append $limits .Message }}{{ end }}{{ end }}
{{- range index .Markers "kubebuilder:validation:items:XValidation" }}{{ $limits = append $limits (print "each " .Message) }}{{ end }}
{{- with .Default }}{{ $limits = append $limits (printf "default %s" .) }}{{ end }}
| `{{ .Name }}` | {{ if eq (toString .Type) "[]byte" }}string, base64{{ else }}{{ markdownRenderType .Type }}{{ end }} | {{ template "text" .Doc }} | {{ template "text" ($limits | join "; ") }} |
{{- end }}{{ end -}}
