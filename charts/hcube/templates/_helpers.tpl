{{/* What the operator's objects are called. */}}
{{- define "hcube.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default "hcube-operator" .Values.nameOverride -}}
{{- if eq .Release.Name "hcube" -}}
{{- $name | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What they are called where they belong to no namespace: two releases may share a name. */}}
{{- define "hcube.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "hcube.fullname" .) -}}
{{- end -}}

{{/* By what the operator's pods are found. A NetworkPolicy of each Hypercube admits them by the first. */}}
{{- define "hcube.selector" -}}
app.kubernetes.io/name: hcube-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hcube.labels" -}}
{{ include "hcube.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: hcube
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: root, name, and where there are any namespaced (default true), labels, annotations. */}}
{{- define "hcube.metadata" -}}
{{- $root := .root -}}
name: {{ .name | quote }}
{{- if ne .namespaced false }}
namespace: {{ default $root.Release.Namespace .namespace }}
{{- end }}
labels:
  {{- include "hcube.labels" $root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "hcube.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "hcube.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* An image by its digest or its tag. */}}
{{- define "hcube.image" -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
{{- end -}}

{{/* What the Pod Security Standard "restricted" wants of a pod, and of a container. */}}
{{- define "hcube.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "hcube.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end -}}

{{/* The Hypercube that `helm test` and NOTES.txt speak of. */}}
{{- define "hcube.testHypercube" -}}
{{- if .Values.hypercube.enabled -}}
{{- .Values.hypercube.name -}}
{{- else -}}
{{- .Values.test.hypercube -}}
{{- end -}}
{{- end -}}
