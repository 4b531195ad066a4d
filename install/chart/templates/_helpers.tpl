{{- /* The name of everything: with the agent's default instance `tk8s-agent`, else with the instance behind it. Not the
release's: the agent knows what is its own by this beginning, and two agents on one cluster have two instances anyway. */ -}}
{{- define "tk8s-agent.name" -}}
{{- $instance := .Values.config.instance -}}
{{- if eq $instance "tk8s" }}tk8s-agent{{ else }}tk8s-agent-{{ $instance }}{{ end -}}
{{- end -}}

{{- /* What finds the Pod. A Deployment's selector can't be changed, so nothing that an upgrade changes stands here. */ -}}
{{- define "tk8s-agent.selector" -}}
app.kubernetes.io/name: tk8s-agent
app.kubernetes.io/instance: {{ .Values.config.instance | quote }}
{{- end -}}

{{- define "tk8s-agent.labels" -}}
{{ include "tk8s-agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- /* Takes the context and what comes behind the name. */ -}}
{{- define "tk8s-agent.metadata" -}}
{{- $top := first . -}}
name: {{ include "tk8s-agent.name" $top }}{{ last . }}
namespace: {{ $top.Release.Namespace }}
labels:
  {{- include "tk8s-agent.labels" $top | nindent 2 }}
{{- end -}}

{{- /* The same, of what belongs to the whole cluster. */ -}}
{{- define "tk8s-agent.metadata-cluster" -}}
{{- $top := first . -}}
name: {{ include "tk8s-agent.name" $top }}{{ last . }}
labels:
  {{- include "tk8s-agent.labels" $top | nindent 2 }}
{{- end -}}

{{- /* The agent's account, as a subject. */ -}}
{{- define "tk8s-agent.subject" -}}
- {kind: ServiceAccount, name: {{ include "tk8s-agent.name" . }}, namespace: {{ .Release.Namespace }}}
{{- end -}}

{{- /* A digest says exactly which image; a tag beside it would say nothing. */ -}}
{{- define "tk8s-agent.image" -}}
{{- $repository := required "image.repository: it is missing: there is no registry of the project, name yours" .Values.image.repository -}}
{{- if .Values.image.digest }}{{ $repository }}@{{ .Values.image.digest }}{{ else }}{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "tk8s-agent.config" -}}
{{- $config := .Values.config -}}
{{- $_ := required "config.cluster: it is missing: name the cluster, for people and for the ledger" $config.cluster -}}
{{- $_ := required "config.environment: it is missing: dev, staging or production" $config.environment -}}
{{- $_ := required "config.repository.url: it is missing: the repository to follow" (dig "repository" "url" "" $config) -}}
{{- $variables := $config.variables | default dict -}}
{{- if or (hasKey $variables "true") (hasKey $variables "false") }}{{ fail "config.variables: Helm reads names such as Y, N, on and off as true and false: write them in quotes" }}{{ end -}}
{{- toYaml (merge (dict "apiVersion" "agent.tk8s.io/v1alpha1" "kind" "AgentConfig") $config) -}}
{{- end -}}

{{- /* Keys of the agent's file that are in force after a restart only. All others are taken up while it runs. */ -}}
{{- define "tk8s-agent.restarts-with" -}}
{{- $config := .Values.config -}}
{{- $keys := pick $config "instance" "cluster" "environment" "history" "api" "render" "lease" "watch" -}}
{{- set $keys "url" (dig "repository" "url" "" $config) | toJson | sha256sum -}}
{{- end -}}

{{- /* The port of a listener of the agent's file. */ -}}
{{- define "tk8s-agent.port" -}}
{{- . | splitList ":" | last -}}
{{- end -}}

{{- /* Where a peer may be anywhere, there is no `to` at all: an address range would not match what is no Pod everywhere. */ -}}
{{- define "tk8s-agent.egress" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
