#!/bin/sh
# A plan of clips on a Slurm cluster: an array job, each task one shard on one node with all its GPUs.
#
#   PLAN=/data/plan OUT=/data/clips MODEL=/models/Wan2.2-I2V-A14B-Diffusers \
#     sbatch --array=0-15 synth-slurm.sh
#
# Tasks that are killed, preempted or run out of time are put back into the queue and go on where they
# were; to finish what is left, submit the same line again. PLAN and OUT may be s3://bucket/prefix.
#SBATCH --job-name=synth
#SBATCH --nodes=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=96G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120

set -eu
: "${PLAN:?folder of the plan}" "${OUT:?folder for the clips}" "${MODEL:?folder of the diffusion model}"

# The array must start at 0, or the shards would not be numbered from 0 to N-1.
test "$SLURM_ARRAY_TASK_MIN" = 0

# In the background and waited for, so that the shell passes the signal on before the time is up.
trainer synth run --plan "$PLAN" --out "$OUT" --synthesizer diffusion --model "$MODEL" \
  --devices "${DEVICES:-cuda}" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" &
run=$!
trap 'kill -TERM $run' TERM
status=0
wait $run || status=$?
# A signal ends the wait, not the run.
while kill -0 $run 2>/dev/null; do
  status=0
  wait $run || status=$?
done
if [ "$status" != 0 ] && [ "$status" != 2 ] && [ "$status" != 3 ]; then
  # Interrupted, or a GPU is lost: again, maybe elsewhere. Wrong usage and damaged input stay wrong.
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
