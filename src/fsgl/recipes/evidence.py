"""What the records say of each recipe; written by ``make docs``, and part of the recipes' docstrings."""

from __future__ import annotations

EVIDENCE: dict[str, str] = {
    "fsgl": (
        "Command: fsgl train fsgl --data cifar100 --val 0\n"
        "Published: CIFAR-10-LT IF 50 92.2, IF 100 89.3, CIFAR-100-LT IF 50 63.4, IF 100 59.2, "
        "ImageNet-LT 57.2 (single runs, best test epoch; CIFAR: resnet34, 200 epochs)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 61.9 ± 2.4 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: cifar100, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 28.1 ± 3.5 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 92.9 ± 0.9 (n = 5; AMD EPYC, 1 "
        "thread a run, 7 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 64.6 ± 4.0 "
        "(n = 5; AMD EPYC, 1 thread a run, 3 s the fastest run)\n"
    ),
    "release": (
        "Command: fsgl train release --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: nothing of 40 epochs or more yet.\n"
    ),
    "glmc": (
        "Command: fsgl train glmc --data cifar100 --val 0\n"
        "Published: CIFAR-10-LT IF 50 89.81, IF 100 87.55, CIFAR-100-LT IF 50 62.49, IF 100 57.63 "
        "(single runs, best test epoch; CIFAR: resnet34, 200 epochs)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs: 71.1 (n = 1; AMD EPYC, 1 thread a "
        "run, 16781 s the fastest run)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 72.1 ± 2.3 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: cifar100, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 30.5 ± 0.7 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 97.3 ± 1.2 (n = 5; AMD EPYC, 1 "
        "thread a run, 4 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 64.4 ± 3.3 "
        "(n = 5; AMD EPYC, 1 thread a run, 2 s the fastest run)\n"
    ),
    "glmc-sam": (
        "Command: fsgl train glmc-sam --data cifar100 --val 0\n"
        "Published: CIFAR-10-LT IF 50 91.56, IF 100 89.18, CIFAR-100-LT IF 50 65.28, IF 100 59.01 "
        "(single runs, best test epoch; CIFAR: resnet34, 200 epochs)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 67.4 ± 4.2 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: cifar100, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 28.4 ± 1.3 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 97.0 ± 1.4 (n = 5; AMD EPYC, 1 "
        "thread a run, 7 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 64.1 ± 3.3 "
        "(n = 5; AMD EPYC, 1 thread a run, 3 s the fastest run)\n"
    ),
    "fsgl-same": (
        "Command: fsgl train fsgl-same --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 92.0 ± 1.4 (n = 5; AMD EPYC, 1 "
        "thread a run, 7 s the fastest run)\n"
    ),
    "fsgl-half": (
        "Command: fsgl train fsgl-half --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 92.0 ± 2.9 (n = 5; AMD EPYC, 1 "
        "thread a run, 7 s the fastest run)\n"
    ),
    "fsgl-inverse": (
        "Command: fsgl train fsgl-inverse --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 66.2 ± 3.6 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 96.4 ± 1.4 (n = 5; AMD EPYC, 1 "
        "thread a run, 7 s the fastest run)\n"
    ),
    "glmc-balanced-softmax": (
        "Command: fsgl train glmc-balanced-softmax --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 96.4 ± 1.1 (n = 5; AMD EPYC, 1 "
        "thread a run, 4 s the fastest run)\n"
    ),
    "cross-entropy": (
        "Command: fsgl train cross-entropy --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: cifar10, imbalance factor 100, resnet32-slim, 200 epochs, NVIDIA H100 80GB HBM3: 70.5 ± "
        "3.6 (n = 2; NVIDIA H100 80GB HBM3 in tf32)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs: 62.8 (n = 1; AMD EPYC, 1 thread a "
        "run, 5978 s the fastest run)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 63.9 ± 0.9 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: cifar100, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 34.4 ± 0.1 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 95.5 ± 1.0 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 56.3 ± 2.3 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "balanced-softmax": (
        "Command: fsgl train balanced-softmax --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: cifar10, imbalance factor 100, resnet32-slim, 200 epochs, NVIDIA H100 80GB HBM3: 77.1 ± "
        "11.9 (n = 2; NVIDIA H100 80GB HBM3 in tf32)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs: 75.3 (n = 1; AMD EPYC, 1 thread a "
        "run, 5985 s the fastest run)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 75.4 ± 0.6 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: cifar100, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 41.2 ± 0.2 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 97.0 ± 1.3 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 67.9 ± 4.0 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "bcl": (
        "Command: fsgl train bcl --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 94.2 ± 1.7 (n = 5; AMD EPYC, 1 "
        "thread a run, 4 s the fastest run)\n"
    ),
    "class-balanced": (
        "Command: fsgl train class-balanced --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 95.1 ± 1.2 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 59.2 ± 0.8 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "crt": (
        "Command: fsgl train crt --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 96.2 ± 0.8 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 57.8 ± 3.5 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "cutmix": (
        "Command: fsgl train cutmix --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 94.0 ± 1.4 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
    ),
    "disalign": (
        "Command: fsgl train disalign --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 95.1 ± 1.0 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 57.8 ± 2.7 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "focal": (
        "Command: fsgl train focal --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 94.8 ± 1.5 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 56.6 ± 3.1 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "ldam-drw": (
        "Command: fsgl train ldam-drw --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: cifar10, imbalance factor 100, resnet32-slim, 200 epochs, NVIDIA H100 80GB HBM3: 76.6 ± "
        "3.2 (n = 2; NVIDIA H100 80GB HBM3 in tf32)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs: 72.6 (n = 1; AMD EPYC, 1 thread a "
        "run, 9098 s the fastest run)\n"
        "Ours: cifar10, imbalance factor 100, resnet8-lite, 45 epochs, NVIDIA H200: 73.6 ± 1.6 (n = 3; "
        "NVIDIA H200 in tf32)\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 96.3 ± 0.6 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 59.3 ± 1.6 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "logit-adjustment": (
        "Command: fsgl train logit-adjustment --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 97.0 ± 1.3 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 67.9 ± 4.0 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "lws": (
        "Command: fsgl train lws --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 96.2 ± 1.0 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 60.6 ± 5.3 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "max-norm": (
        "Command: fsgl train max-norm --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 96.2 ± 0.9 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 63.2 ± 5.0 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "mixup": (
        "Command: fsgl train mixup --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 90.5 ± 4.2 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
    ),
    "paco": (
        "Command: fsgl train paco --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 88.1 ± 0.7 (n = 5; AMD EPYC, 1 "
        "thread a run, 3 s the fastest run)\n"
    ),
    "remix": (
        "Command: fsgl train remix --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 93.5 ± 3.4 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
    ),
    "sade": (
        "Command: fsgl train sade --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 95.3 ± 1.0 (n = 5; AMD EPYC, 1 "
        "thread a run, 3 s the fastest run)\n"
    ),
    "vector-scaling": (
        "Command: fsgl train vector-scaling --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 95.0 ± 2.0 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 62.4 ± 6.1 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
    "weight-averaging": (
        "Command: fsgl train weight-averaging --data cifar100 --val 0\n"
        "Published: no figure of this code line\n"
        "Ours: digits, imbalance factor 20, resnet8-slim, 40 epochs: 95.6 ± 0.8 (n = 5; AMD EPYC, 1 "
        "thread a run, 2 s the fastest run)\n"
        "Ours: stamps, timm:tf_efficientnet_lite0 pretrained frozen, 2 kept views, 40 epochs: 56.1 ± 2.0 "
        "(n = 5; AMD EPYC, 1 thread a run, 0 s the fastest run)\n"
    ),
}
