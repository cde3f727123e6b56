"""Puts figures into docs/toy.md, between the two comments that name the part."""

from __future__ import annotations

from repository import ROOT

PAGE = ROOT / "docs" / "toy.md"


def put(part: str, text: str) -> None:
    """Replace what stands between `<!-- part -->` and `<!-- /part -->` of the page."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {part} -->", f"<!-- /{part} -->"
    if begin not in page or end not in page:
        raise SystemExit(f"{PAGE} has no place for {part}: write {begin} and {end} where its figures belong.")
    before, rest = page.split(begin, 1)
    _, after = rest.split(end, 1)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
