#!/usr/bin/env bash
# A sweep on SLURM: a Ray head on the job's first node, workers on the others, the sweep on the first.
#   STORAGE=/shared/results sbatch deploy/slurm.sh --preset study
# The arguments are those of `tunekit run`, or with COMMAND=search those of `tunekit search`. All nodes must see STORAGE.
# Two minutes before the time limit, and when the job is preempted, the sweep stops in order (exit code 75) and the job
# is queued again. The sweep then continues from its checkpoints. Output is appended.
#SBATCH --job-name=tunekit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

storage=${STORAGE:?"set STORAGE to a folder that all nodes see"}
command=${COMMAND:-run}
cpus=${SLURM_CPUS_PER_TASK:-1}
gpus=${SLURM_GPUS_ON_NODE:-0}
requeue_code=75
cd "${SLURM_SUBMIT_DIR:-.}"
if [[ -f .venv/bin/activate ]]; then
    # shellcheck disable=SC1091
    source .venv/bin/activate
fi

# Jobs may share a node: each has its own ports, token and folder for Ray.
RAY_AUTH_TOKEN=$(python -c "import secrets; print(secrets.token_hex(32))")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export TUNEKIT_CACHE_DIR=${TUNEKIT_CACHE_DIR:-${TMPDIR:-/tmp}/tunekit-cache-$USER}
ray_folder=/tmp/ray-$SLURM_JOB_ID

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(hostname --ip-address) # this script runs on the first node
address=${address%% *}
free_ports="import socket
found = [socket.create_server(('', 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in found))"
read -r port dashboard_port client_port < <(python -c "$free_ports")

started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait' EXIT

# Port 0 is one that the system chooses. Ray's own defaults are fixed, and a second Ray on the node would take the same.
node=(--num-cpus="$cpus" --num-gpus="$gpus" --dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0)
# srun does not take --cpus-per-task over from sbatch (since SLURM 22.05): without it a step has one core.
srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$cpus" --nodelist="$head" \
    ray start --head --block --node-ip-address="$address" --port="$port" --include-dashboard=true \
    --dashboard-host=127.0.0.1 --dashboard-port="$dashboard_port" --ray-client-server-port="$client_port" \
    --temp-dir="$ray_folder" "${node[@]}" &
started+=($!)
export RAY_ADDRESS=$address:$port
for _ in {1..120}; do
    if ray status >/dev/null 2>&1; then break; fi
    sleep 1
done
if ((${#nodes[@]} > 1)); then
    others=$((${#nodes[@]} - 1))
    srun --overlap --nodes="$others" --ntasks="$others" --cpus-per-task="$cpus" --exclude="$head" \
        ray start --block --address="$RAY_ADDRESS" "${node[@]}" &
    started+=($!)
fi

# The batch shell takes the signal and hands it on to the sweep alone, so that Ray outlives it.
python -m tunekit "$command" --storage "$storage" "$@" &
driver=$!
trap 'kill -TERM "$driver" 2>/dev/null || true' TERM
while kill -0 "$driver" 2>/dev/null; do # a signal ends the wait, not the sweep
    wait "$driver" || true
done
code=0
wait "$driver" || code=$?

if ((code == requeue_code)); then
    echo "stopped by SIGTERM; job $SLURM_JOB_ID is queued again"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
