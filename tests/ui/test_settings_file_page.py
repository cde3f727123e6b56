"""A settings file of another trainer on the page: dropped or chosen, trained with, taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.ui.test_browser import address, drop, fill, jobs_home, opened, page, pytestmark  # noqa: F401  (fixtures)
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.server.settings_files import FOLDER

KOHYA = """
pretrained_model_name_or_path = "model.safetensors"
token_string = "zibbo"
init_word = "thing"
max_train_steps = 3
xformers = true
[[datasets]]
resolution = 64
  [[datasets.subsets]]
  image_dir = {folder}
"""


def test_a_dropped_settings_file_is_trained_with(
    page: Any,  # noqa: F811
    jobs_home: Path,  # noqa: F811
    values: dict[str, Any],
    host: DiffusersHost,
    tmp_path: Path,
) -> None:
    """Its word, images and steps; what is not used is told; there is a way back, and a broken one changes nothing."""
    fill(page, "name", "before")
    file = tmp_path / "my cat.toml"
    file.write_text(KOHYA.format(folder=json.dumps(values["images"])), "utf-8")
    drop(page, "[data-drop=new]", [file])
    said = page.locator("#tinv_own_presets [role=status] .tinv-said")
    said.wait_for()
    assert "my cat.toml" in said.inner_text()
    notes = page.inner_text("#tinv_own_presets ul")
    assert "Not used: --xformers." in notes
    assert "Not used: model. That is for the command line" in notes
    assert page.input_value("#tinv_name") == "zibbo"
    assert page.input_value("#tinv_images") == ""
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 3")
    said.get_by_role("button", name="Undo").click()
    page.wait_for_function("document.querySelector('#tinv_name').value === 'before'")
    page.set_input_files("#tinv_own_presets input[type=file]", str(file))
    page.wait_for_function("document.querySelector('#tinv_name').value === 'zibbo'")
    assert [kept.name for kept in (jobs_home / FOLDER).iterdir()] == ["my cat.toml"]
    (tmp_path / "broken.json").write_text("{", "utf-8")
    page.set_input_files("#tinv_own_presets input[type=file]", str(tmp_path / "broken.json"))
    page.locator("#tinv_own_presets .tinv-problems", has_text="broken.json").wait_for()
    assert page.input_value("#tinv_name") == "zibbo"
    assert said.get_by_role("button", name="Undo").is_visible()
    page.click("#tinv_train")
    page.wait_for_selector("#tinv_live .tinv-is-finished", timeout=60_000)
    assert read_embedding(host.embeddings_folder / "zibbo.pt").step == 3
