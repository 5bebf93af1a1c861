{{- define "windrow.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a part: (dict "root" $ "part" "agent"). */}}
{{- define "windrow.selector" -}}
app.kubernetes.io/name: windrow
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "windrow.labels" -}}
{{ include "windrow.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: windrow
{{- end -}}

{{/* Where the API server is, where the cluster's own address of it is not to be relied on. */}}
{{- define "windrow.apiServer" -}}
{{- with .Values.apiServer.host }}
- {name: KUBERNETES_SERVICE_HOST, value: {{ . | quote }}}
- {name: KUBERNETES_SERVICE_PORT, value: {{ $.Values.apiServer.port | quote }}}
{{- end }}
{{- end -}}

{{/* Where a part's pods may run. */}}
{{- define "windrow.placement" -}}
priorityClassName: {{ .part.priorityClassName | quote }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Two replicas of one part on two hosts, unless somebody says where they are to be. */}}
{{- define "windrow.apart" -}}
affinity:
{{- if .affinity }}
{{ toYaml .affinity | indent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
{{ include "windrow.selector" (dict "root" .root "part" .part) | indent 14 }}
{{- end }}
{{- end -}}

{{/* A process that needs nothing of its host. */}}
{{- define "windrow.confined" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* A ServiceAccount and what binds a ClusterRole of the same name to it. */}}
{{- define "windrow.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: windrow-{{ .part }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "windrow.labels" . | nindent 4 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: windrow-{{ .part }}
  labels: {{ include "windrow.labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: windrow-{{ .part }}}
subjects: [{kind: ServiceAccount, name: windrow-{{ .part }}, namespace: {{ .root.Release.Namespace }}}]
{{- end -}}

{{/* What binds a Role of the same name, in the release's own namespace, to that account. */}}
{{- define "windrow.localRole" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: windrow-{{ .part }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{ include "windrow.labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: windrow-{{ .part }}}
subjects: [{kind: ServiceAccount, name: windrow-{{ .part }}, namespace: {{ .root.Release.Namespace }}}]
{{- end -}}
