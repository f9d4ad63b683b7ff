{{- define "gvList" -}}
# API reference

The objects of stormcell, field by field: for people who write manifests, and for programs that use the API.
`kubectl explain stormworker.spec` prints the same in a cluster.
What the objects are for is in [design](design.md), examples are in [clients](clients.md).

"Limits" are what the API server checks when an object is written.
It refuses an object that breaks one, and names the field.

This page is generated from the types in `api/` by `make generate`.
Change their comments, not this page.
{{ range reverse . }}
- {{ markdownRenderGVLink . }}
{{- end }}
{{ range reverse . }}
{{ template "gvDetails" . }}
{{- end }}
{{- end -}}
