{{- define "almenara.labels" -}}
app.kubernetes.io/name: almenara
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "almenara.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* What every pod has: not root, no way to be, nothing but its volumes to write to. */ -}}
{{- define "almenara.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "almenara.container" -}}
image: {{ include "almenara.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
ports:
  - {name: metrics, containerPort: 9400}
startupProbe:
  # Who waits for the broker lives.
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 15
  timeoutSeconds: 6
  {{- if eq .part "worker" }}
  # /livez fails 90 s after the loop's last turn, and compiling the network is no turn: five minutes in all. A worker
  # that hangs later has lost its photographs to the others in 8 s, and ends itself after ALMENARA_BATCH_TIMEOUT_S.
  failureThreshold: 14
  {{- else }}
  failureThreshold: 3
  {{- end }}
readinessProbe:
  {{- if eq .part "web" }}
  # Not /readyz: a console that says that the broker is away is better than none.
  tcpSocket: {port: 8400}
  {{- else }}
  httpGet: {path: /readyz, port: metrics}
  {{- end }}
  periodSeconds: 10
  timeoutSeconds: 6
resources: {{ toYaml .resources | nindent 2 }}
{{- with .root.Values.envFrom }}
envFrom: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Environment: settings of all, then the addresses of this role. */ -}}
{{- define "almenara.env" -}}
{{- $shared := .root.Values.store.existingClaim }}
{{- range $name, $value := .root.Values.settings }}
{{- if not (and $shared (eq $name "ALMENARA_IMAGE_STORE")) }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- if $shared }}
- {name: ALMENARA_IMAGE_STORE, value: /var/lib/almenara/images}
{{- end }}
- {name: ALMENARA_REDIS_URL_FILE, value: /run/secrets/almenara/redis.url}
{{- if .database }}
- {name: ALMENARA_DATABASE_URL_FILE, value: /run/secrets/almenara/database.url}
{{- end }}
{{- end }}

{{- define "almenara.mounts" -}}
- {name: secrets, mountPath: /run/secrets/almenara, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .state }}
- {name: state, mountPath: /var/lib/almenara/state}
{{- end }}
{{- if and .store .root.Values.store.existingClaim }}
- {name: images, mountPath: /var/lib/almenara/images, readOnly: {{ ne .store "write" }}}
{{- end }}
{{- end }}

{{- define "almenara.volumes" -}}
- name: secrets
  secret:
    secretName: {{ .root.Values.existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ .role }}.url, path: redis.url}
      {{- if .database }}
      - {key: {{ .databaseKey | default "database.url" }}, path: database.url}
      {{- end }}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- if .state }}
- name: state
  emptyDir: {sizeLimit: 2Gi}
{{- end }}
{{- if and .store .root.Values.store.existingClaim }}
- name: images
  persistentVolumeClaim: {claimName: {{ .root.Values.store.existingClaim }}}
{{- end }}
{{- end }}
