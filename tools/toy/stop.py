"""Compare rules that end a run: python tools/toy/stop.py record FILE …, then python tools/toy/stop.py rules FILE …

`record` trains on the toy and saves what fixed sets of draws say on the way, beside the loss on images that are kept
back, which is the truth. `rules` says where each rule would have ended these runs, and what that costs. Regret is the
share of the whole fall of the truth by which the chosen step is above the run's best; a false stop is one above 0.1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import concepts
import learn
import samples
import torch

from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.presets import preset_values
from tinv_ext.core.training.evaluation import losses_by_timestep, make_eval_set
from tinv_ext.core.training.stopping import Evaluation, Rule, as_good, lowest, may_end
from tinv_ext.core.training.trainer import train
from tinv_ext.run.preflight import prepare_run
from tinv_ext.run.setup import balanced, dataset_of, encoded_examples
from tinv_ext.toy import heldout

KEPT_BACK = 24  # images of the concept that no run trains on; two draws of each tell the truth
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "fast": preset_values("fast", "object"),
    "ong": {"optimizer": "ong", "learning_rate": 1, "batch_size": 2, "steps": 160, "ema_decay": 0.9},
    "ssm": {"optimizer": "ssm", "learning_rate": 0.2, "batch_size": 2, "steps": 200, "lr_scheduler": "cosine"},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.005, "batch_size": 4, "steps": 240},
}
BALANCED = {"timestep_sampling": "stratified", "timestep_balance": 1}
PLAIN = ("adamw", "fast")  # of which the second says itself how losses are balanced


def record(host: Any, concept: heldout.Concept, recipe: str, seed: int, folder: Path, every: int) -> dict[str, Any]:
    """What the fixed sets say every `every` images of one run: (evaluations, draws) for each."""
    of_recipe = {**RECIPES[recipe], **({} if recipe in PLAIN else BALANCED)}
    config = learn.config_for(folder, concept, seed, {**of_recipe, "evaluate_every": 0})
    kept = folder / "images" / f"{concept.name}-{seed}-kept"
    samples.write(concept, kept, KEPT_BACK, 5000 + seed)
    prepared = prepare_run(config, host)
    other = prepare_run(TrainConfig.from_dict({**config.to_dict(), "images": str(kept)}), host)
    with host.training(0) as model:
        trained, _ = encoded_examples(prepared, model)
        unseen, _ = encoded_examples(other, model)
        read, noise = prepared.reader, model.noise
        sets = {
            "4": make_eval_set(trained[:4], read, noise, 1, seed),
            "8": make_eval_set(trained[:8], read, noise, 1, seed),
            "16": make_eval_set(trained[:8], read, noise, 2, seed),
            "unseen": make_eval_set(unseen[:4], read, noise, 2, seed + 7),
            "truth": make_eval_set(unseen[4:], read, noise, 2, seed + 9),
        }
        dataset, state = dataset_of(prepared, trained), prepared.new_state(model.device)
        state = balanced(state, prepared, model, trained)
        size = config.batch_size
        found: dict[str, Any] = {"concept": concept.name, "recipe": recipe, "seed": seed, "images": []}
        found |= {"losses": {name: [] for name in sets}, "step_seconds": 0.0, "set_seconds": 0.0}
        steps = train(state, prepared.plan, model, dataset)
        found["timesteps"] = {name: torch.cat(one.timesteps).tolist() for name, one in sets.items()}
        while True:
            if state.step * size % every == 0:
                found["images"].append(state.step * size)
                for name, one in sets.items():
                    began = time.perf_counter()
                    losses = losses_by_timestep(model, one, state.result)[1]
                    found["set_seconds"] += (time.perf_counter() - began) if name == "8" else 0.0
                    found["losses"][name].append([float(f"{x:.6g}") for x in losses.tolist()])
            began = time.perf_counter()
            if next(steps, None) is None:
                return found
            found["step_seconds"] += time.perf_counter() - began


# --- rules: whether a run with these evaluations (all so far, the first of the initial word) ends with the last ------

Ends = Callable[[Sequence[Evaluation]], bool]
PATIENCE = 60  # images; here, an evaluation's step counts images


def ours(evaluations: Sequence[Evaluation], patience: int = PATIENCE) -> bool:
    """`stop_when_done`."""
    return may_end(evaluations, Rule(patience), 0, 0)


def plateau(evaluations: Sequence[Evaluation], back: int = 4) -> bool:
    """The best of the last four means is less than 3 % of the whole fall below the best before."""
    means = [one.mean for one in evaluations]
    if len(means) <= back + 1:
        return False
    return min(means[1:-back]) - min(means[-back:]) < 0.03 * (means[0] - min(means))


def dvar(evaluations: Sequence[Evaluation]) -> bool:
    """Voronov et al. 2023: the variance of the last six means is less than .15 of that of all."""
    means = torch.tensor([one.mean for one in evaluations])
    return len(means) > 6 and bool(means[-6:].var(correction=0) < 0.15 * means.var(correction=0))


def best_of(evaluations: Sequence[Evaluation]) -> int:
    """The step with the lowest mean."""
    found = lowest(evaluations[1:])
    assert found is not None
    return found.step


def latest_as_good(evaluations: Sequence[Evaluation]) -> int:
    """The step that `result=best` saves."""
    best = lowest(evaluations[1:])
    assert best is not None
    return next(one.step for one in reversed(evaluations) if as_good(one, best))


RULES: Mapping[str, tuple[Ends, Callable[[Sequence[Evaluation]], int]]] = {
    "`stop_when_done`, `result=best`": (ours, latest_as_good),
    "the same, the lowest mean": (ours, best_of),
    "`stop_when_done` with a patience of 120, `result=best`": (partial(ours, patience=120), latest_as_good),
    "plateau of four, the lowest mean": (plateau, best_of),
    "plateau of four, `result=best`": (plateau, latest_as_good),
    "DVAR, the lowest mean": (dvar, best_of),
    "never, `result=best`": (lambda evaluations: False, latest_as_good),
}
JUDGED_BY = ("8", "16", "unseen")


def ended(run: Mapping[str, Any], judged_by: str, ends: Ends, choose: Callable[[Sequence[Evaluation]], int]) -> Any:
    """The images at which a run ends, and the regret of what is chosen there."""
    losses, images = run["losses"][judged_by], run["images"]
    evaluations = [Evaluation(seen, torch.tensor(row).double()) for seen, row in zip(images, losses)]
    end = next((n for n in range(2, len(images)) if ends(evaluations[: n + 1])), len(images) - 1)
    truth = [sum(row) / len(row) for row in run["losses"]["truth"]]
    chosen = truth[images.index(choose(evaluations[: end + 1]))]
    return images[end], (chosen - min(truth[1:])) / (truth[0] - min(truth[1:]))


def thinned(run: Mapping[str, Any], apart: int) -> dict[str, Any]:
    """A run as if it had been evaluated every `apart` images only."""
    kept = [place for place, seen in enumerate(run["images"]) if seen % apart == 0]
    losses = {name: [rows[place] for place in kept] for name, rows in run["losses"].items()}
    share = len(kept) / len(run["images"])
    return {
        **run,
        "images": [run["images"][place] for place in kept],
        "losses": losses,
        "set_seconds": share * run["set_seconds"],
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """What each rule does to these runs, as Markdown."""
    lines = ["| ends, saves | images | regret, median | worst | false stops |", "|---" * 5 + "|"]
    for name, (ends, choose) in RULES.items():
        found = [ended(run, judged_by, ends, choose) for run in runs for judged_by in JUDGED_BY]
        regrets = [regret for _, regret in found]
        false = sum(regret > 0.1 for regret in regrets)
        images = median(seen for seen, _ in found)
        cells = f"{images:.0f} | {median(regrets):.3f} | {max(regrets):.2f} | {false} of {len(found)}"
        lines.append(f"| {name} | {cells} |")
    images = sum(run["images"][-1] for run in runs)
    share = sum(run["set_seconds"] for run in runs) / sum(run["step_seconds"] for run in runs)
    times = sum(len(run["images"]) for run in runs)
    lines.append(
        f"\nEvaluations of 8 draws took {share:.1%} of the steps' time, one every {images / times:.0f} images."
    )
    return "\n".join(lines)


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("record", "rules"))
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--concepts", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--every", type=int, default=20, help="images between two evaluations")
    options = parser.parse_args()
    if options.what == "record":
        record_all(options, options.file[0])
        return
    runs = [run for file in options.file for run in json.loads(file.read_text(encoding="utf-8"))]
    runs = [thinned(run, options.every) for run in runs]
    for recipe in options.recipes:
        if of_recipe := [run for run in runs if run["recipe"] == recipe]:
            print(f"\n{recipe}: {len(of_recipe)} runs, each judged by {', '.join(JUDGED_BY)}\n\n{table(of_recipe)}")


def record_all(options: argparse.Namespace, file: Path) -> None:
    """Record what is not in the file yet; it is written after each run."""
    known = concepts.read()
    done = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    have = {(one["concept"], one["recipe"], one["seed"]) for one in done}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        host = learn.host_in(folder / "embeddings")
        for seed, recipe, name in itertools.product(options.seeds, options.recipes, options.concepts or known):
            if (name, recipe, seed) not in have:
                done.append(record(host, known[name], recipe, seed, folder, options.every))
                file.write_text(json.dumps(done), encoding="utf-8")
                print(name, recipe, seed, flush=True)


if __name__ == "__main__":
    main()
