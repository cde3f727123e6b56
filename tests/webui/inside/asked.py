"""What the tests may ask inside the WebUI's process. Each function answers in values that JSON can hold."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from modules import safe, sd_hijack, shared


def laws(files: list[str], packages: list[str]) -> dict[str, Any]:
    """Run test files in this process, with pytest and diffusers from `packages`; the WebUI's own go first."""
    root = os.environ["TINV_REPOSITORY"]
    sys.path += packages
    sys.path.insert(0, root)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest

    class Count:
        """How each test ended, with the words of those that did not pass."""

        def __init__(self) -> None:
            self.ends: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
            self.words: list[str] = []

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" or report.outcome != "passed":
                self.ends[report.outcome].append(report.nodeid)
                if report.outcome != "passed":
                    self.words.append(f"{report.nodeid}: {report.longreprtext[-700:]}")

    count = Count()
    said = io.StringIO()
    plain = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:faulthandler",
        "-p",
        "no:threadexception",
        "--capture=no",
        "--tb=short",
    ]
    with contextlib.redirect_stdout(said):
        code = pytest.main([*plain, "--rootdir", root, *(str(Path(root) / file) for file in files)], plugins=[count])
    sys.path.remove(root)
    return {"code": int(code), **count.ends, "words": count.words, "said": said.getvalue()[-3000:]}


def word(name: str) -> dict[str, Any] | None:
    """An embedding as the WebUI knows it: vectors, step, hash; None if it knows none of that name."""
    found = sd_hijack.model_hijack.embedding_db.word_embeddings.get(name)
    if found is None:
        return None
    return {"vectors": found.vec.tolist(), "step": found.step, "hash": found.shorthash, "file": found.filename}


def loaded(path: str) -> list[Any] | None:
    """The vectors that the WebUI's own loader finds in a file, None if none. Its database stays as it is."""
    database = sd_hijack.model_hijack.embedding_db
    by_name, by_id = dict(database.word_embeddings), {k: list(v) for k, v in database.ids_lookup.items()}
    try:
        database.word_embeddings.clear()
        database.load_from_file(path, os.path.basename(path))
        return [item.vec.tolist() for item in database.word_embeddings.values()] or None
    finally:
        for mapping, content in ((database.word_embeddings, by_name), (database.ids_lookup, by_id)):
            mapping.clear()
            mapping.update(content)


def safe_to_unpickle(path: str) -> bool:
    """What the WebUI's checker says; it raises for what it refuses."""
    assert not shared.cmd_opts.disable_safe_unpickle
    safe.check_pt(path, None)
    return True


def workers() -> list[str]:
    """Names of the threads that carry out jobs."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tinv")]


def routes() -> list[str]:
    """The extension's routes in the app that answers now."""
    return [route.path for route in shared.demo.app.routes if getattr(route, "path", "").startswith("/tinv")]


def wearing() -> list[str]:
    """The LoRAs that are patched into layers of the model now."""
    worn = {name for layer in shared.sd_model.modules() for name, *_ in getattr(layer, "network_current_names", ())}
    return sorted(worn)


def random_interrogators(folder: str) -> list[str]:
    """Give the interrogators models of their architectures with random weights; the tags of DeepBooru's.

    BLIP's text decoder and its vocabulary are small, its vision transformer is of the real size. What cannot be had
    without a download is what is put in place: models and the vocabulary. All code that runs them is the WebUI's.
    """
    import clip.model
    import torch
    from modules import deepbooru, deepbooru_model, paths

    shared.interrogator.create_fake_fairscale()
    import models.blip
    from transformers import BertTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "picture", "of", "cat", "dog", "red", "house", "the", "with"]
    vocabulary, config = Path(folder) / "vocabulary.txt", Path(folder) / "config.json"
    vocabulary.write_text("\n".join([*words, *letters, *(f"##{letter}" for letter in letters)]), "utf-8")
    real = json.loads((Path(paths.paths["BLIP"]) / "configs" / "med_config.json").read_text("utf-8"))
    size = len(vocabulary.read_text("utf-8").split()) + 2
    small = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "vocab_size": size,
    }
    config.write_text(json.dumps({**real, **small}), "utf-8")
    kept = models.blip.BertTokenizer.from_pretrained
    models.blip.BertTokenizer.from_pretrained = lambda name: BertTokenizer(str(vocabulary))
    torch.manual_seed(0)
    try:
        blip = models.blip.blip_decoder(image_size=384, vit="base", med_config=str(config)).eval()
    finally:
        models.blip.BertTokenizer.from_pretrained = kept
    with torch.no_grad():
        for name, weights in blip.text_decoder.named_parameters():
            weights.mul_(30.0 if "crossattention" in name else 1.0)  # so that the image matters
    shared.interrogator.blip_model = blip
    shared.interrogator.clip_model = clip.model.CLIP(16, 32, 1, 64, 16, 77, 64, 16, 1, 1).eval()  # loaded, not asked
    tagger = deepbooru_model.DeepDanbooruModel().eval()
    count = tagger.n_Conv_178.out_channels
    tagger.tags = ["rating:safe", "long_hair", "cat_(animal)", *(f"tag_{index}" for index in range(count - 3))]
    deepbooru.model.model = tagger
    return tagger.tags


def interrogated(path: str) -> dict[str, Any]:
    """What the WebUI's own interrogators say of an image file, and DeepBooru's probabilities by tag."""
    import numpy as np
    import torch
    from modules import deepbooru, images
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    pixels = np.asarray(images.resize_image(2, image, 512, 512), dtype=np.float32)[None] / 255
    with torch.no_grad():
        scores = deepbooru.model.model(torch.from_numpy(pixels))[0].tolist()
    shared.interrogator.load()
    return {
        "blip": shared.interrogator.generate_caption(image),
        "deepbooru": deepbooru.model.tag(image),
        "scores": dict(zip(deepbooru.model.model.tags, scores)),
    }
