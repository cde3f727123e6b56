"""Measure what inversion learns on the toy: python tools/toy/learn.py [--concepts …] [--seeds …] [--steps N]
[--set optimizer=ong learning_rate=1 …].

Concepts, seeds and controls are in learn.json, fixed before anything was tuned; settings and prompts are in
tinv_ext/demo/concept_test.py.
Controls: rate 0 (the initial word), and the word learned from another concept's images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pages
import repository
import samples

from tinv_ext.core.settings import TrainConfig
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import dry_run, runner
from tinv_ext.toy import heldout, model, variants

PLAN: dict[str, Any] = json.loads((repository.ROOT / "tools" / "toy" / "learn.json").read_text(encoding="utf-8"))
COLUMNS = (
    "gap closed",
    "identity",
    "of the description's",
    "editability",
    "of the description's ",
    "rate 0",
    "another's",
)


def host_in(folder: Path, variant: str | None = None) -> DiffusersHost:
    """The toy or a variant of it, its embeddings in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pipe = variants.pipeline(variant) if variant else model.pipeline()
    return DiffusersHost(pipe, folder, {"model_name": f"toy-{variant}" if variant else "toy"})


def config_for(folder: Path, concept: heldout.Concept, seed: int, changes: Mapping[str, Any]) -> TrainConfig:
    """The settings for one concept and seed, on freshly written images."""
    images = folder / "images" / f"{concept.name}-{seed}"
    samples.write(concept, images, PLAN["images"], seed)
    settings = {**concept_test.SETTINGS, "name": PLAN["word"], "overwrite": True, "seed": seed, "images": str(images)}
    return TrainConfig.from_dict({**settings, "output": str(folder / "log"), **changes})


def learn(
    host: DiffusersHost, concept: heldout.Concept, config: TrainConfig, concepts: Mapping[str, heldout.Concept]
) -> dict[str, Any]:
    """The figures of one concept; `shows` has the share of its images that show each concept."""
    result = concept_test.run(host, concept, config)
    shows = {name: concept_test.identity(result.after, other) for name, other in concepts.items()}
    return {**result.report, "seed": config.seed, "shows": shows}


def oracle(host: DiffusersHost, concept: heldout.Concept, config: TrainConfig, folder: Path) -> dict[str, float]:
    """How far a nameless concept can be learned: ten times the steps on 200 images, measured on the run's draws.

    It is trained once for all seeds.
    """
    name = f"{concept.name.replace('-', '')}oracle"
    if name not in [word.name for word in host.known_words()]:
        images = folder / "images" / f"{concept.name}-oracle"
        samples.write(concept, images, PLAN["oracle"]["images"], 1000)
        steps = config.steps * PLAN["oracle"]["times"]
        rates = f"0.01:{steps // 10}, 0.005:{steps // 2}, 0.002"
        longer = {"steps": steps, "learning_rate": rates, "images": str(images), "evaluate_every": 0}
        runner.run(config.but(name=name, **longer), host)
    edited = concept_test.on_backgrounds(host, concept, name, {})
    return {
        "identity_description": concept_test.identity(concept_test.photos(host, name, {}), concept),
        "editability_description": concept_test.editability(edited, concept),
        "evaluation_description": dry_run.evaluate_text(config, host, name),
    }


def row(result: Mapping[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of one result. The other control is the word of another concept, same seed."""
    gap = result["evaluation_before"] - result.get(
        "evaluation_description", float("nan")
    )  # an oracle may be missing yet
    other = next(
        (x for x in results if x["concept"] == PLAN["others"].get(result["concept"]) and x["seed"] == result["seed"]),
        None,
    )
    return {
        "gap closed": (result["evaluation_before"] - result["evaluation_after"]) / gap if gap else float("nan"),
        "identity": result["identity_after"],
        "of the description's": share(result["identity_after"], result.get("identity_description")),
        "editability": result["editability"],
        "of the description's ": share(result["editability"], result.get("editability_description")),
        "rate 0": result["identity_before"],
        "another's": other["shows"][result["concept"]] if other else float("nan"),
    }


def share(reached: float, possible: float | None) -> float:
    """The share that is reached; not a number where the most is unknown or zero."""
    return reached / possible if possible else float("nan")


def table(results: list[dict[str, Any]]) -> str:
    """All results as Markdown."""
    lines = [
        "| concept | seed | " + " | ".join(name.strip() for name in COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for result in results:
        figures = row(result, results)
        cells = " | ".join(f"{figures[name]:.2f}" for name in COLUMNS)
        lines.append(f"| {result['concept']} | {result['seed']} | {cells} |")
    bars = PLAN["bars"]
    kept = [
        bars["gap_closed"],
        bars["identity"],
        bars["identity_of_description"],
        "",
        bars["editability_of_description"],
    ]
    lines.append(f"| bar | | {' | '.join(str(bar) for bar in kept)} | ≤ {bars['control']} | ≤ {bars['control']} |")
    return "\n".join(lines)


def run_all(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """What the options ask for, the first seed first, then the oracles; each result is printed and saved at once."""
    concepts = heldout.read(options.concept)
    results = json.loads(options.json.read_text(encoding="utf-8")) if options.json and options.json.is_file() else []
    done = {(result["concept"], result["seed"]) for result in results}
    host = host_in(folder / "embeddings", options.variant)
    configs = {
        (name, seed): config_for(folder, concepts[name], seed, {"steps": options.steps, **dict(options.set)})
        for seed, name in itertools.product(options.seeds, options.concepts)
    }
    for key, config in configs.items():
        if key not in done:
            results.append(learn(host, concepts[key[0]], config, concepts))
            keep(options.json, results, results[-1])
    for result in results:
        if "evaluation_description" not in result and (key := (result["concept"], result["seed"])) in configs:
            result |= oracle(host, concepts[key[0]], configs[key], folder)
            keep(options.json, results, result)
    return results


def setting(text: str) -> tuple[str, str]:
    """Name and value of "name=value". ValueError, which argparse tells, if it is none."""
    name, value = text.split("=", 1)
    return name, value


def keep(path: Path | None, results: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """Print the newest result and write all so far."""
    print(json.dumps(result), flush=True)
    if path:
        path.write_text(json.dumps(results, indent=1), encoding="utf-8")


def joined(files: list[Path]) -> list[dict[str, Any]]:
    """Lessons of earlier calls, in the plan's order."""
    results = [result for file in files for result in json.loads(file.read_text(encoding="utf-8"))]
    order = [*PLAN["describable"], *PLAN["nameless"]]
    return sorted(results, key=lambda result: ([*order, result["concept"]].index(result["concept"]), result["seed"]))


def main() -> None:
    """Measure every concept with every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", nargs="+", default=[*PLAN["describable"], *PLAN["nameless"]])
    parser.add_argument("--seeds", nargs="+", type=int, default=PLAN["seeds"])
    parser.add_argument("--steps", type=int, default=concept_test.SETTINGS["steps"])
    parser.add_argument("--set", nargs="+", type=setting, default=[], metavar="NAME=VALUE", help="other settings")
    parser.add_argument("--concept", type=Path, default=heldout.FILE, help="a file of concepts of your own")
    parser.add_argument("--variant", choices=variants.VARIANTS, help="use this variant of the toy")
    parser.add_argument("--json", type=Path, help="where results are saved; those that it holds are not measured again")
    parser.add_argument(
        "--folder", type=Path, help="where images, runs and oracles are kept; a temporary one if not given"
    )
    parser.add_argument(
        "--join", nargs="+", type=Path, help="print what earlier calls wrote with --json; trains nothing"
    )
    parser.add_argument("--docs", action="store_true", help="put the table into docs/toy.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = joined(options.join) if options.join else run_all(options, options.folder or Path(temporary))
    print(table(results))
    if options.docs:
        pages.put(f"learn-{options.variant}" if options.variant else "learn", table(results))


if __name__ == "__main__":
    main()
