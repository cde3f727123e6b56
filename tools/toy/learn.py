"""What inversion learns on the toy, measured: python tools/toy/learn.py [--concepts …] [--seeds …] [--steps N].

Concepts, seeds and controls stand in learn.json, fixed before anything was tuned; settings and prompts in
tinv_ext/demo/concept_test.py.
Controls: rate 0 (the word stays what it was), and the word learnt from another concept's pictures.
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
    """The lesson's settings for one concept and seed, on freshly written pictures."""
    pictures = folder / "pictures" / f"{concept.name}-{seed}"
    samples.write(concept, pictures, PLAN["pictures"], seed)
    settings = {**concept_test.SETTINGS, "name": PLAN["word"], "overwrite": True, "seed": seed, "images": str(pictures)}
    return TrainConfig.from_dict({**settings, "output": str(folder / "log"), **changes})


def learn(
    host: DiffusersHost, concept: heldout.Concept, config: TrainConfig, concepts: Mapping[str, heldout.Concept]
) -> dict[str, Any]:
    """One lesson with its figures; `shows` has the share of its pictures that show each concept."""
    taught = concept_test.teach(host, concept, config)
    shows = {name: concept_test.identity(taught.after, other) for name, other in concepts.items()}
    return {**taught.report, "seed": config.seed, "shows": shows}


def oracle(host: DiffusersHost, concept: heldout.Concept, config: TrainConfig, folder: Path) -> dict[str, float]:
    """How far a nameless concept can be learnt: ten times the steps on 200 pictures, measured on the run's draws.

    It is taught once for all seeds.
    """
    name = f"{concept.name.replace('-', '')}oracle"
    if name not in [word.name for word in host.known_words()]:
        pictures = folder / "pictures" / f"{concept.name}-oracle"
        samples.write(concept, pictures, PLAN["oracle"]["pictures"], 1000)
        steps = config.steps * PLAN["oracle"]["times"]
        rates = f"0.01:{steps // 10}, 0.005:{steps // 2}, 0.002"
        longer = {"steps": steps, "learning_rate": rates, "images": str(pictures), "evaluate_every": 0}
        runner.run(config.but(name=name, **longer), host)
    edited = concept_test.on_backgrounds(host, concept, name, {})
    return {
        "identity_description": concept_test.identity(concept_test.photos(host, name, {}), concept),
        "editability_description": concept_test.editability(edited, concept),
        "evaluation_description": dry_run.evaluate_text(config, host, name),
    }


def row(one: Mapping[str, Any], every: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of one lesson beside its bars. The other control is the lesson of another concept, same seed."""
    gap = one["evaluation_before"] - one.get("evaluation_description", float("nan"))  # an oracle may be missing yet
    other = next(
        (x for x in every if x["concept"] == PLAN["others"].get(one["concept"]) and x["seed"] == one["seed"]), None
    )
    return {
        "gap closed": (one["evaluation_before"] - one["evaluation_after"]) / gap if gap else float("nan"),
        "identity": one["identity_after"],
        "of the description's": share(one["identity_after"], one.get("identity_description")),
        "editability": one["editability"],
        "of the description's ": share(one["editability"], one.get("editability_description")),
        "rate 0": one["identity_before"],
        "another's": other["shows"][one["concept"]] if other else float("nan"),
    }


def share(reached: float, possible: float | None) -> float:
    """What of the possible is reached; not a number where that is not known or nothing."""
    return reached / possible if possible else float("nan")


def table(every: list[dict[str, Any]]) -> str:
    """All lessons as Markdown."""
    lines = [
        "| concept | seed | " + " | ".join(name.strip() for name in COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for one in every:
        figures = row(one, every)
        cells = " | ".join(f"{figures[name]:.2f}" for name in COLUMNS)
        lines.append(f"| {one['concept']} | {one['seed']} | {cells} |")
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


def taught(given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The lessons asked for, all of the first seed first; then the oracles. Each figure is printed and kept at once."""
    concepts = heldout.read(given.concept)
    every = json.loads(given.json.read_text(encoding="utf-8")) if given.json and given.json.is_file() else []
    done = {(one["concept"], one["seed"]) for one in every}
    host = host_in(folder / "embeddings", given.variant)
    configs = {
        (name, seed): config_for(folder, concepts[name], seed, {"steps": given.steps})
        for seed, name in itertools.product(given.seeds, given.concepts)
    }
    for place, config in configs.items():
        if place not in done:
            every.append(learn(host, concepts[place[0]], config, concepts))
            keep(given.json, every, every[-1])
    for one in every:
        if "evaluation_description" not in one and (place := (one["concept"], one["seed"])) in configs:
            one |= oracle(host, concepts[place[0]], configs[place], folder)
            keep(given.json, every, one)
    return every


def keep(path: Path | None, every: list[dict[str, Any]], one: dict[str, Any]) -> None:
    """Print the lesson that was just over and write all so far."""
    print(json.dumps(one), flush=True)
    if path:
        path.write_text(json.dumps(every, indent=1), encoding="utf-8")


def joined(files: list[Path]) -> list[dict[str, Any]]:
    """Lessons of earlier calls, in the plan's order."""
    every = [one for file in files for one in json.loads(file.read_text(encoding="utf-8"))]
    order = [*PLAN["describable"], *PLAN["nameless"]]
    return sorted(every, key=lambda one: ([*order, one["concept"]].index(one["concept"]), one["seed"]))


def main() -> None:
    """Teach every concept with every seed and print the table."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--concepts", nargs="+", default=[*PLAN["describable"], *PLAN["nameless"]])
    ask.add_argument("--seeds", nargs="+", type=int, default=PLAN["seeds"])
    ask.add_argument("--steps", type=int, default=concept_test.SETTINGS["steps"])
    ask.add_argument("--concept", type=Path, default=heldout.FILE, help="a file of concepts of your own")
    ask.add_argument("--variant", choices=variants.VARIANTS, help="teach this variant of the toy")
    ask.add_argument("--json", type=Path, help="where the lessons are kept; those that it holds are not taught again")
    ask.add_argument(
        "--folder", type=Path, help="where pictures, runs and oracles are kept; a temporary one if not given"
    )
    ask.add_argument("--join", nargs="+", type=Path, help="print what earlier calls wrote with --json; teaches nothing")
    ask.add_argument("--docs", action="store_true", help="put the table into docs/toy.md")
    given = ask.parse_args()
    with tempfile.TemporaryDirectory() as place:
        every = joined(given.join) if given.join else taught(given, given.folder or Path(place))
    print(table(every))
    if given.docs:
        pages.put(f"learn-{given.variant}" if given.variant else "learn", table(every))


if __name__ == "__main__":
    main()
