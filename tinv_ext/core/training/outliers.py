"""Images that pull a word back from what it has learnt of all the others: perhaps they show something else.

The gradient of an example's loss along the way that the vectors have gone says whether its image would be explained
better a bit further on (negative) or a bit back (positive). Images of one subject pull a little this way or that, and
the optimum is where they balance. One that shows something else pulls back at nearly every visit. Of each example the
direction alone counts, the cosine between both: lengths of gradients differ by a factor of nine from example to example
(from the 5th to the 95th of a hundred; median of 51 runs on the toy).

How well this finds such an image is measured in docs/toy.md.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

_FORGETTING = 0.05  # of an image's pulls with each visit: it counts what the word is by now
_VISITS = 6  # before which nothing is said of an image
_IMAGES = 5  # fewer cannot tell which of them is the odd one
_DOUBTFUL, _CLEAR = 2.0, 4.0  # deviations from the others, from which on it counts less, and is told of
_LEAST = 0.05  # what it counts then


@dataclass(frozen=True)
class Pull:
    """The pulls of one image, cosines from -1 to 1: how many `visits`, and sums in which earlier ones weigh less.

    `weight` is the sum of the weights, `weight2` of their squares, `total` and `total2` of the pulls and their squares.
    """

    visits: int = 0
    weight: float = 0.0
    weight2: float = 0.0
    total: float = 0.0
    total2: float = 0.0

    def after(self, pull: float) -> Pull:
        """With one visit more."""
        kept = 1 - _FORGETTING
        return Pull(
            self.visits + 1,
            kept * self.weight + 1,
            kept**2 * self.weight2 + 1,
            kept * self.total + pull,
            kept * self.total2 + pull**2,
        )

    @property
    def mean(self) -> float:
        return self.total / self.weight

    @property
    def error(self) -> float:
        """The standard error of the mean, from the spread of the pulls; infinite after a single visit."""
        share = self.weight2 / self.weight**2
        if share >= 1:
            return math.inf
        return math.sqrt(max(0.0, self.total2 / self.weight - self.mean**2) * share / (1 - share))


Named = tuple[str, str]
"""A word and the name of one of its images; "" of one that regularizes, which is not judged."""


@dataclass(frozen=True)
class Outliers:
    """The pulls of all images so far, and which were found `odd` at a look. Never changed: a step gives another."""

    pulls: Mapping[Named, Pull] = field(default_factory=dict)
    odd: frozenset[Named] = frozenset()

    def after(self, images: Sequence[Named], pulls: Sequence[float]) -> Outliers:
        """With the pulls of a step's examples, those of the `images`; one that is NaN, or has no name, says nothing."""
        found = dict(self.pulls)
        for image, pull in zip(images, pulls):
            if image[1] and math.isfinite(pull):
                found[image] = found.get(image, Pull()).after(pull)
        return Outliers(found, self.odd) if pulls else self

    def of(self, images: Collection[Named]) -> Outliers:
        """Without those that are not among the `images` (of a run that resumes with others)."""
        return Outliers({image: pull for image, pull in self.pulls.items() if image in images}, self.odd & set(images))

    def deviations(self, images: Iterable[Named] | None = None) -> dict[Named, float]:
        """By how many deviations each of the `images` (all, where none are named) pulls back more than its word's do;
        without those that cannot be judged.

        The deviation has two parts: the error of the image's own mean, and how far the means of all lie apart (their
        median absolute deviation, which a few odd ones hardly widen).
        """
        asked, found = list(self.pulls if images is None else images), dict[Named, float]()
        for word in dict.fromkeys(word for word, _ in asked):
            means = {one: pull.mean for one, pull in self.pulls.items() if one[0] == word and pull.visits >= _VISITS}
            if len(means) < _IMAGES:
                continue
            middle = statistics.median(means.values())
            spread = _NORMAL * statistics.median(abs(mean - middle) for mean in means.values())
            for image in asked:
                if image in means:
                    found[image] = _divided(means[image] - middle, math.hypot(self.pulls[image].error, spread))
        return found

    def weights(self, images: Iterable[Named] | None = None) -> dict[Named, float]:
        """What each of the `images` (or all) is to count: the less, the more clearly it pulls back. 1 where it is not
        here."""
        return {image: _weight(by) for image, by in self.deviations(images).items() if by > _DOUBTFUL}

    def judged(self) -> Outliers:
        """With the images odd that clearly pull back by now. They stay so, as they have been told of."""
        return Outliers(self.pulls, self.odd.union(image for image, by in self.deviations().items() if by > _CLEAR))

    def about(self) -> str:
        """As JSON."""
        rows = [[*named, *vars(pull).values()] for named, pull in self.pulls.items()]
        return json.dumps({"pulls": rows, "odd": sorted(self.odd)})


_NORMAL = 1.4826  # makes a median absolute deviation of normal numbers their standard deviation


def _weight(deviation: float) -> float:
    return max(_LEAST, min(1.0, (_CLEAR - deviation) / (_CLEAR - _DOUBTFUL)))


def _divided(excess: float, by: float) -> float:
    return excess / by if by else 0.0


def outliers_of(about: str | None) -> Outliers:
    """What `about` gave; none of a run from before there were any. ValueError, TypeError or KeyError otherwise."""
    if about is None:
        return Outliers()
    told = json.loads(about)
    pulls = {
        (str(word), str(image)): Pull(int(visits), *map(float, sums)) for word, image, visits, *sums in told["pulls"]
    }
    if not all(
        pull.visits > 0 and pull.weight > 0 and math.isfinite(sum(vars(pull).values())) for pull in pulls.values()
    ):
        raise ValueError("its pulls of images are no numbers")
    return Outliers(pulls, frozenset((str(word), str(image)) for word, image in told["odd"]))


def cosines(rows: Tensor, way: Tensor) -> Tensor:
    """The cosine (N,) between each of the `rows` (N, D) and the `way` (D,), of the columns where the row is not 0.

    So that of several words an example is compared with those of its prompt. NaN where nothing is left.
    """
    there = (rows != 0).to(way.dtype)
    found: Tensor = (rows @ way) / (rows.norm(dim=1) * (there * way).norm(dim=1))
    return found
