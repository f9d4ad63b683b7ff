{{- define "text" }}{{ . | trim | replace "\n" " " | replace "<" "&lt;" | replace "|" "\\|" }}{{ end -}}

{{- /* One sentence a line, so that a change is a diff that people can read. */ -}}
{{- define "prose" }}{{ regexReplaceAll "([a-z0-9)`\"][.!?]) +([A-Z`])" (. | trim | replace "<" "&lt;") "${1}\n${2}" }}{{ end -}}

{{- define "type" }}{{ if markdownShouldRenderType . }}
### {{ .Name }}

{{ template "prose" .Doc }}
{{- if .References }}

Used by{{ range $i, $r := .SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $r }}{{ end }}.
{{- end }}
{{- $rules := dict }}
{{- range index .Markers "kubebuilder:validation:XValidation" }}
{{- $_ := set $rules .Message (append (default list (get $rules .Message)) (trimPrefix "." .FieldPath)) }}
{{- end }}
{{- if $rules }}

Rules:
{{- range $message, $fields := $rules }}
- {{ if $fields | compact }}`{{ $fields | join "`,\n  `" }}`: {{ end }}{{ template "text" $message }}
{{- end }}
{{- end }}
{{- if .Members }}

| field | type | meaning | limits |
| --- | --- | --- | --- |
{{- if .GVK }}
| `apiVersion` | string | `{{ .GVK.Group }}/{{ .GVK.Version }}` | |
| `kind` | string | `{{ .GVK.Kind }}` | |
{{- end }}
{{- range .Members }}{{ template "type_members" . }}{{ end }}
{{- end }}
{{- if .EnumValues }}

| value | meaning |
| --- | --- |
{{- range .EnumValues }}
| `{{ .Name }}` | {{ template "text" (regexReplaceAll "^\\w+ " .Doc "") }} |
{{- end }}
{{- end }}
{{ end }}{{ end -}}
