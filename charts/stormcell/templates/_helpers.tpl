{{- define "stormcell.labels" -}}
app.kubernetes.io/name: stormcell
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "stormcell.image" -}}
{{ .root.Values.image.registry }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- /* storm.yaml, as a map. Where a value and storm name one key, storm wins. */ -}}
{{- define "stormcell.storm" -}}
{{- $conf := dict
    "storm.oci.image.hdfs.toplevel.dir" .Values.store.url
    "storm.oci.allowed.images" .Values.images.allowed }}
{{- with .Values.images.default }}{{ $_ := set $conf "storm.oci.image" . }}{{ end }}
{{- with .Values.store.kerberos.principal }}
{{- $_ := set $conf "storm.hdfs.login.principal" . }}
{{- $_ := set $conf "storm.hdfs.login.keytab" "/etc/stormcell/keytab/keytab" }}
{{- end }}
{{- toYaml (mergeOverwrite $conf .Values.storm) }}
{{- end }}

{{- /* What both daemons see of the store: files of its configuration. */ -}}
{{- define "stormcell.env" -}}
{{- if .Values.store.hadoopConfigMap }}
- {name: HADOOP_CONF_DIR, value: /etc/hadoop}
{{- end }}
{{- if .Values.store.kerberos.krb5ConfigMap }}
- {name: KRB5_CONFIG, value: /etc/stormcell/krb5/krb5.conf}
{{- end }}
{{- end }}

{{- define "stormcell.mounts" -}}
- {name: config, mountPath: /etc/storm, readOnly: true}
{{- if .Values.store.hadoopConfigMap }}
- {name: hadoop, mountPath: /etc/hadoop, readOnly: true}
{{- end }}
{{- if .Values.store.kerberos.keytabSecret }}
- {name: keytab, mountPath: /etc/stormcell/keytab, readOnly: true}
{{- end }}
{{- if .Values.store.kerberos.krb5ConfigMap }}
- {name: krb5, mountPath: /etc/stormcell/krb5, readOnly: true}
{{- end }}
{{- end }}

{{- define "stormcell.volumes" -}}
- name: config
  configMap: {name: stormcell-config}
{{- with .Values.store.hadoopConfigMap }}
- name: hadoop
  configMap: {name: {{ . }}}
{{- end }}
{{- with .Values.store.kerberos.keytabSecret }}
- name: keytab
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.store.kerberos.krb5ConfigMap }}
- name: krb5
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}

{{- /* What Kubernetes has no other way to refuse. */ -}}
{{- define "stormcell.check" -}}
{{- if ne .Release.Namespace "stormcell-system" }}
{{- fail "stormcell belongs into the namespace stormcell-system, which its roles, policies and Leases name: helm install stormcell ... --namespace stormcell-system --create-namespace" }}
{{- end }}
{{- if hasKey .Values.storm "storm.oci.image.hdfs.toplevel.dir" }}
{{- fail "storm names the store: do it by store.url, by which it is mounted, too" }}
{{- end }}
{{- if ne (empty .Values.store.kerberos.principal) (empty .Values.store.kerberos.keytabSecret) }}
{{- fail "store.kerberos.principal and store.kerberos.keytabSecret: set both or neither" }}
{{- end }}
{{- if and (hasPrefix "file://" .Values.store.url) (empty .Values.store.persistentVolumeClaim) }}
{{- fail (printf "store.url is %s: name a PersistentVolumeClaim in store.persistentVolumeClaim, by which the manager sees it" .Values.store.url) }}
{{- end }}
{{- if and .Values.store.persistentVolumeClaim (not (hasPrefix "file://" .Values.store.url)) }}
{{- fail (printf "store.persistentVolumeClaim is for a store.url of file:///PATH, and that is %s: leave it out" .Values.store.url) }}
{{- end }}
{{- end }}
