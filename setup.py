"""The one part of the build that pyproject.toml cannot express: the page's script and style go into the wheel.

WebUIs look for `javascript/` and `style.css` at the repository's top, so they stay there; a wheel has no place beside
the package, so it carries them as `tinv_ext/assets/`. `tinv_ext/standalone.py` looks in both places.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ASSETS = ["style.css", *sorted(path.as_posix() for path in Path("javascript").rglob("*") if path.is_file())]


class BuildWithAssets(build_py):
    """Copies the assets into the package, except for an editable install, which uses the repository itself."""

    def run(self) -> None:
        """Build the package, then add the assets."""
        super().run()
        if not self.editable_mode:
            for source in ASSETS:
                target = Path(self.build_lib, "tinv_ext", "assets", source)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(source, str(target))

    def get_source_files(self) -> list[str]:
        """The package's files and the assets, so that an sdist holds both."""
        return [*super().get_source_files(), *ASSETS]


setup(cmdclass={"build_py": BuildWithAssets})
