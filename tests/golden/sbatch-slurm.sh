#!/bin/bash

# Parameters
#SBATCH --account=vision
#SBATCH --cpus-per-task=96
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --job-name=mdiff-microdit-xl
#SBATCH --mail-type=FAIL
#SBATCH --mem=0
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/lustre/you/runs/microdit-xl/submissions/20261124T120000.000000Z-0000-scheduler/%j_0_log.out
#SBATCH --partition=h100
#SBATCH --requeue
#SBATCH --signal=USR2@180
#SBATCH --time=240

# setup
module purge
[ -x /lustre/you/mdiff/.venv/bin/python3 ] || { echo 'error: /lustre/you/mdiff/.venv/bin/python3 is not visible on' "$(hostname)"; exit 4; }

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /lustre/you/runs/microdit-xl/submissions/20261124T120000.000000Z-0000-scheduler/%j_%t_log.out --kill-on-bad-exit=1 --wait=60 --cpus-per-task=96 /lustre/you/mdiff/.venv/bin/python3 -u -m submitit.core._submit /lustre/you/runs/microdit-xl/submissions/20261124T120000.000000Z-0000-scheduler


# teardown
status=$?
attempt=/lustre/you/runs/microdit-xl/attempts/"$(printf %s-%03d "$SLURM_JOB_ID" "${SLURM_RESTART_COUNT:-0}")"
if [ -e "$attempt/requeue" ]
then for pause in 0 5 15 30 60; do
  sleep $pause; scontrol requeue "$SLURM_JOB_ID"; case $? in 0|127) break;; esac
  scontrol show job "$SLURM_JOB_ID" | grep -q "Requeue=0" && break
done
# Preempted by SIGTERM alone: the controller brings back what it kills, not what ends by itself.
elif [ $status = 143 ] && scontrol show job "$SLURM_JOB_ID" | grep -q "PreemptTime=[0-9]"
then sleep 900; fi
exit $status

# Each of the tasks above is a supervisor (mdiff.attempt.slurm), which starts:
#   MDIFF_RDZV_ID="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
#   MDIFF_RDZV_ENDPOINT="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1):$((20000 + SLURM_JOB_ID % 10000))"
#   MDIFF_RDZV_IS_HOST="$([ "$SLURM_NODEID" = 0 ] && echo true || echo false)"
#   export HF_HUB_OFFLINE=1
#   export NCCL_DEBUG=WARN
#   export MDIFF_DATASETS='{"sa1b": "/lustre/latents/sa1b", "cc12m": "/lustre/latents/cc12m", "textcaps": "/lustre/latents/textcaps", "journeydb": "/lustre/latents/journeydb", "diffusiondb": "/lustre/latents/diffusiondb"}'
#   /lustre/you/mdiff/.venv/bin/python3 -m torch.distributed.run --nnodes 1 --nproc-per-node 8 --signals-to-handle SIGQUIT --rdzv-backend c10d --rdzv-id $MDIFF_RDZV_ID --rdzv-endpoint $MDIFF_RDZV_ENDPOINT --rdzv-conf is_host=$MDIFF_RDZV_IS_HOST,join_timeout=600 -m mdiff.train /lustre/you/runs/microdit-xl/submissions/20261124T120000.000000Z-0000.toml /lustre/you/runs/microdit-xl --stage 1
