#!/usr/bin/env bash
# Builds a generation by four Kubernetes Jobs, one after the other: plan, split, merge
# and publish. Usage:
#
#   run.sh OVERLAY INPUT... [FLAG...]
#
# OVERLAY is a kustomization as in kustomization.yaml; the other arguments are those of
# "promobuild plan". The script needs bash, jq and a kubectl that may create and read
# Jobs, read pods and their logs, and apply the other objects of OVERLAY.
#
# It exits with 1 if another run may help, and with 3 if not, such as after a bad row,
# and prints the errors of the tasks. If it is interrupted, the running Job goes on but
# no other follows. A run with the same INPUTs and --generation ID continues.
set -euo pipefail
(($# > 1)) || { echo "Usage: $0 OVERLAY INPUT... [FLAG...]" >&2; exit 2; }
overlay=$1
shift
run=$(date -u +%Y%m%d-%H%M%S)

# kubectl annotate turns YAML into JSON, without a server.
objects=$(kubectl kustomize "$overlay" | kubectl annotate --local --filename - --output json "promostore/run=$run")
namespace=$(jq -r 'select(.metadata.labels["promostore/step"] == "plan").metadata.namespace' <<<"$objects")

kube() { kubectl --namespace "$namespace" "$@"; }

# pods prints the pods of the Job that are in a phase, oldest first.
pods() {
	kube get pods --selector "batch.kubernetes.io/job-name=$job" --field-selector "status.phase=$1" \
		--sort-by .metadata.creationTimestamp --output name
}

# explain prints why the Job failed, and the logs of the pods that failed last, and ends
# the script.
explain() {
	local condition pod
	condition=$(kube get job "$job" --output json | jq '.status.conditions[] | select(.type == "Failed")')
	jq -r --arg job "$job" '"\($job): \(.reason): \(.message)"' <<<"$condition" >&2
	for pod in $(pods Failed | tail -n 3); do
		kube logs "$pod" --tail 30 --prefix >&2 || true
	done
	[[ $(jq -r .reason <<<"$condition") != PodFailurePolicy ]] || exit 3
	exit 1
}

# complete creates the Job of a step with a number of completions, and waits until it is
# complete. More arguments are added to the command of its tasks.
complete() {
	local step=$1 completions=$2 found
	shift 2
	job=promo-$step-$run
	jq --arg step "$step" --arg job "$job" --argjson completions "$completions" --arg plan "$plan" '
		select(.kind == "Job" and .metadata.labels["promostore/step"] == $step) |
		.metadata.name = $job |
		.spec.completions = $completions |
		.spec.template.spec.containers[0].command |=
			map(if . == "$(PROMO_WORK)" and $plan != "" then $plan else . end) + $ARGS.positional
		' --args -- "$@" <<<"$objects" | kube create --filename -
	until kube wait --for condition=Complete --timeout 10s "job/$job" 2>/dev/null; do
		if kube wait --for condition=Failed --timeout 0s "job/$job" &>/dev/null; then
			explain
		elif found=$(kube get job "$job" --ignore-not-found --output name) && [[ -z $found ]]; then
			echo "$job: deleted" >&2
			exit 1
		fi
		sleep 1 # the server may not answer
	done
}

jq 'select(.kind != "Job")' <<<"$objects" | kubectl apply --filename -
plan=
complete plan 1 "$@"
result=$(kube logs "$(pods Succeeded | tail -n 1)" | grep '^{')
echo "$result"
[[ " $* " != *' --dry-run '* ]] || exit 0
plan=$(jq -r .plan <<<"$result")
complete split "$(jq .splits <<<"$result")"
complete merge "$(jq .shards <<<"$result")"
complete publish 1
kube logs "$(pods Succeeded | tail -n 1)"
