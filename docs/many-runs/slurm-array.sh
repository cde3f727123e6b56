#!/bin/bash
# One run of a list for each task of a Slurm array. Submit it where your files are, with as many tasks as files:
#
#     files=(sweep/*.toml)
#     sbatch --array=0-$((${#files[@]} - 1))%4 slurm-array.sh "${files[@]}"
#
# %4 is how many go on at the same time. The same line again goes on where the list was left: a task whose run is
# finished ends at once, one that was stopped or lost its node resumes.
#SBATCH --job-name=tinv
#SBATCH --gpus=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=24G
#SBATCH --time=04:00:00
#SBATCH --output=tinv-%A_%a.log
# Two minutes before the time is up: the run finishes its step, saves and ends with code 3.
#SBATCH --signal=B:TERM@120

files=("$@")
index=${SLURM_ARRAY_TASK_ID:?submit this with sbatch --array=0-N}
if ((index >= ${#files[@]})); then
    echo "Task $index has no file: the list has ${#files[@]}. Submit it with --array=0-$((${#files[@]} - 1))." >&2
    exit 2
fi
echo "Task $index: ${files[index]}"
exec tinv queue "${files[index]}" # in place of this shell, so that the signal reaches it
