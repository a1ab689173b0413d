#!/usr/bin/env bash
# The published experiments of GLMC and FSGL, as commands of main.py.
#
#   ./run.sh                      list them
#   ./run.sh NAME [more flags]    run one; a flag that stands twice counts as it stands last
#   ./run.sh all [more flags]     run them one after the other, until one fails
#
# PYTHON names the interpreter; PYTHON=echo prints the commands instead of running them. Useful flags:
#   --max-steps 2         only try whether it starts
#   --root FOLDER         where the CIFAR archives or the images of ImageNet-LT are (data/)
#   --behaviour release   as the authors' code does it, where that is not what the flag says. It makes of --fcc_same
#                         without --fcc no scaling at all, so that fsm-same is GLMC + SAM once more.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=python
    [[ -x $here/.venv/bin/python ]] && PYTHON=$here/.venv/bin/python
fi

# What the experiments of a data set share (METHOD section 7).
cifar="-a resnet34 --beta 0.5 --lr 0.01 --epochs 200 -b 64 --momentum 0.9 --weight_decay 5e-3
    --resample_weighting 0.0 --label_weighting 1.2 --contrast_weight 4 --rho 0.05"
cifar10="--dataset cifar10 --num_classes 10 $cifar"
cifar100="--dataset cifar100 --num_classes 100 $cifar"
imagenet="--dataset ImageNet-LT -a resnext50_32x4d --num_classes 1000 --beta 0.5 --lr 0.1 --momentum 0.9
    --weight_decay 2e-4 --label_weighting 1.0 --contrast_weight 4 --rho 0.05"

# A name, the settings it starts from, and its own flags. The imbalance factor is 1 / --imbanlance_rate.
experiments="
glmc-cifar10-if50             cifar10   --imbanlance_rate 0.02 --rho -1
glmc-cifar10-if100            cifar10   --imbanlance_rate 0.01 --rho -1
glmc-cifar100-if50            cifar100  --imbanlance_rate 0.02 --rho -1
glmc-cifar100-if100           cifar100  --imbanlance_rate 0.01 --rho -1

glmc-sam-cifar10-if50         cifar10   --imbanlance_rate 0.02 --contrast_weight 1
glmc-sam-cifar100-if100       cifar100  --imbanlance_rate 0.01 --lr 0.02

fsm-linear-cifar10-if100      cifar10   --imbanlance_rate 0.01 --fcc 0.1
fsm-same-cifar10-if100        cifar10   --imbanlance_rate 0.01 --fcc_same 0.1

fsgl-cifar10-if50             cifar10   --imbanlance_rate 0.02 --fcc 0.5
fsgl-cifar10-if100            cifar10   --imbanlance_rate 0.01 --fcc 0.5
fsgl-cifar100-if50            cifar100  --imbanlance_rate 0.02 --fcc 1
fsgl-cifar100-if100           cifar100  --imbanlance_rate 0.01 --fcc 1
fsgl-imagenet-lt              imagenet  --epochs 135 -b 120 --resample_weighting 0.2 --fcc 0.1
fsgl-imagenet-lt-script       imagenet  --epochs 200 -b 64 --resample_weighting 0.0 --fcc 0.1
"

wanted=${1:-}
[[ $# -gt 0 ]] && shift

found=no
# The table comes in by descriptor 3, so that a run keeps its own standard input.
while read -r name settings flags <&3; do
    [[ -z $name ]] && continue
    if [[ -z $wanted ]]; then
        printf '%-28s %-9s %s\n' "$name" "$settings" "$flags"
    elif [[ $wanted == "$name" || $wanted == all ]]; then
        found=yes
        # Unquoted on purpose: each word is an argument.
        # shellcheck disable=SC2086
        "$PYTHON" "$here/main.py" ${!settings} $flags "$@" 3<&- || {
            code=$?
            echo "run.sh: $name ended with exit code $code" >&2
            exit "$code"
        }
    fi
done 3<<<"$experiments"

if [[ -n $wanted && $found == no ]]; then
    echo "run.sh: no experiment '$wanted'; ./run.sh lists them" >&2
    exit 2
fi
