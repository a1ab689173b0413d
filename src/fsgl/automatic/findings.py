"""What there is to say at the end of ``fsgl auto``, as figures: for the page, the terminal and the run's record."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fsgl.automatic.clock import Clock
from fsgl.automatic.heads import Pool
from fsgl.automatic.search import Study, Verdict
from fsgl.evaluation.choice import macro_interval
from fsgl.evaluation.wanted import growth
from fsgl.runs.saved import read_predictions, read_record

LISTED = 15  # of the best trials
WANTED = 8  # classes that more images would help
ENOUGH_TEST = 10  # images of a class, below which its test figure says little


def findings(
    study: Study, verdict: Verdict, pool: Pool, folder: Path, clock: Clock, note: str | None = None
) -> dict[str, Any]:
    """Everything, ready for JSON. folder: of the run, complete.  note: of fine-tuning, where there is one."""
    record, saved = read_record(folder), read_predictions(folder)
    trial, labels = verdict.trial, study.labels
    assert trial.right is not None
    rows = slice(None) if trial.judged is None else trial.judged
    classes = len(pool.class_names)
    judged = np.bincount(labels[rows], minlength=classes)
    right = np.bincount(labels[rows][trial.right[rows]], minlength=classes)
    counts = np.array(record["class_counts"])
    test_total = np.bincount(saved["labels"], minlength=classes)
    test_right = np.bincount(saved["labels"][saved["logits"].argmax(1) == saved["labels"]], minlength=classes)
    of_heads = [t for t in study.trials if t.candidate.kind == "heads"]
    ranked = sorted((t for t in of_heads if t.right is not None), key=lambda t: -(t.accuracy or 0.0))
    corrected = verdict.corrected
    return {
        "images": record["data"].get("found") or [],
        "trials": len(study.trials), "failed": sum(t.failed is not None for t in study.trials),
        "seconds": {**clock.parts, "all": clock.spent, "of trials": sum(t.seconds for t in study.trials)},
        "folds": pool.count, "judged": len(labels), "never_judged": int(len(pool.folds) - len(labels)),
        "recipes": _recipes(study),
        "chosen": {"name": str(trial.candidate), "recipe": trial.candidate.recipe, "kind": trial.candidate.kind,
                   "settings": dict(trial.candidate.settings), "accuracy": trial.accuracy, "number": trial.number},
        "best": {"name": str(verdict.best.candidate), "accuracy": verdict.best.accuracy, "number": verdict.best.number},
        "behind": verdict.choice.behind, "error": verdict.choice.error, "among": verdict.compared,
        "expected": None if corrected is None else asdict(corrected),
        "test": {name: record["result"]["last"][name] for name in ("top1", "balanced", "many", "medium", "few", "n")},
        "test_interval": asdict(macro_interval(test_right, test_total)),
        "temperature": record["result"]["temperature"],
        "listed": [{"name": str(t.candidate), "accuracy": t.accuracy, "seconds": t.seconds, "number": t.number}
                   for t in ranked[:LISTED]],
        "heads": {"name": str(verdict.heads.candidate), "number": verdict.heads.number, "trials": len(of_heads)},
        "fine_tuned": [
            {"name": str(each.trial.candidate), "number": each.trial.number, "seconds": each.trial.seconds,
             "epochs": each.trial.candidate.settings["optim.epochs"], "accuracy": each.trial.accuracy,
             "heads": each.heads, "error": each.error, "better": each.better,
             "judged": int(len(labels) if each.trial.judged is None else each.trial.judged.sum())}
            for each in verdict.beside
        ],
        "fine_tuning": note,
        "path": _path(study),
        "classes": [
            {"name": pool.class_names[k], "train": int(counts[k]), "judged": int(judged[k]), "right": int(right[k]),
             "test": int(test_total[k]), "test_right": int(test_right[k])} for k in range(classes)
        ],
        "wanted": _wanted(pool, right, judged, counts, saved),
        "little_tested": int(((test_total < ENOUGH_TEST) & (counts > 0)).sum()),
    }  # fmt: skip


def _recipes(study: Study) -> list[dict[str, Any]]:
    """Of each recipe: trials, seconds, as it comes, and its best."""
    found = []
    for recipe in study.bases:
        own = [t for t in study.trials if t.candidate.recipe == recipe and t.candidate.kind == "heads"]
        known = [t.accuracy for t in own if t.accuracy is not None]
        plain = next((t.accuracy for t in own if not t.candidate.settings), None)
        found.append({"recipe": recipe, "trials": len(own), "seconds": sum(t.seconds for t in own), "plain": plain,
                      "best": max(known, default=None)})  # fmt: skip
    return found


def _path(study: Study) -> list[list[float]]:
    """Seconds and accuracy of each trial that was better than all before."""
    found, best = [], -1.0
    for trial in study.trials:
        if trial.candidate.kind == "heads" and (trial.accuracy or -1.0) > best:
            best = trial.accuracy or 0.0
            found.append([trial.at, best])
    return found


def _wanted(
    pool: Pool, right_K: np.ndarray, judged_K: np.ndarray, counts_K: np.ndarray, saved: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Which classes more images would help, by the curve of accuracy against number; or that none is seen."""
    try:
        curve = growth(right_K, judged_K, np.maximum(counts_K, 1))
    except ValueError as error:
        return {"rises": False, "why": str(error), "classes": []}
    known = judged_K > 0
    aim = float(np.clip(np.median(curve.share_K[known]), 0.5, 0.95))
    doubled = curve.with_images(2 * np.maximum(counts_K, 1))
    gain = np.where(known, doubled - np.nan_to_num(curve.share_K), 0.0)
    needed = curve.images_for(aim)
    rows = []
    for k in np.argsort(-gain, kind="stable")[:WANTED] if curve.rises else []:
        if gain[k] <= 0:
            continue
        enough = float(needed[k])
        rows.append({
            "name": pool.class_names[k], "train": int(counts_K[k]), "now": 100 * float(curve.share_K[k]),
            "doubled": 100 * float(doubled[k]), "gain": 100 * float(gain[k]) / int(known.sum()),
            "needed": int(np.ceil(enough)) if enough <= counts_K.max() else None,
            "taken_for": _taken_for(pool, int(k), saved),
        })  # fmt: skip
    return {"rises": curve.rises, "p_value": curve.p_value, "aim": 100 * aim, "classes": rows}


def _taken_for(pool: Pool, k: int, saved: dict[str, np.ndarray]) -> str | None:
    """The class that its held-out images are most often taken for, where they are kept; None where for none twice."""
    if "val_logits" not in saved:
        return None
    wrong = saved["val_logits"].argmax(1)[saved["val_labels"] == k]
    wrong = wrong[wrong != k]
    if not len(wrong):
        return None
    numbers = np.bincount(wrong)
    return pool.class_names[int(numbers.argmax())] if numbers.max() > 1 else None
