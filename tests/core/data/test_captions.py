"""Captions and templates: which words a picture gets, from which file, in which encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.fake import Letters
from tests.messages import ids, refused
from tinv_ext.core.data.caption_files import CaptionFiles, ImageCaption
from tinv_ext.core.data.captions import (
    CaptionRules,
    draw_caption,
    draw_line,
    expand,
    own_templates,
    read_template,
    read_text,
)
from tinv_ext.core.data.subsets import Subset
from tinv_ext.core.data.variation import split_tags, vary
from tinv_ext.core.prompts.reader import PromptReader, Word

READER = PromptReader(Letters(), (Word("it", tuple(Letters().ids("it")), 2),))


def rules(**given: Any) -> CaptionRules:
    """Rules for the word "it", found as prompts find it."""
    return CaptionRules("it", finds=READER.finds, **given)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_is_read_in_every_unicode_encoding(tmp_path: Path, encoding: str) -> None:
    """UTF-8 with or without BOM, UTF-16 by its BOM: the same text."""
    text = "一只猫, a café"
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (tmp_path / "a.txt").write_bytes((mark + text).encode(encoding))
    assert read_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    ("data", "id"),
    [
        ("café".encode("cp1252"), "captions.not_utf8"),
        ("红色的汽车".encode("gbk"), "captions.not_utf8"),
        (b"a\0b\0", "captions.nul"),
        ("ab".encode("utf-32"), "captions.nul"),
        (b"\xff\xfea", "captions.not_utf8"),
    ],
    ids=["cp1252", "gbk", "utf-16 without BOM", "utf-32", "half a letter"],
)
def test_any_other_encoding_names_the_file(tmp_path: Path, data: bytes, id: str) -> None:  # noqa: A002
    """Nothing is guessed: the sentence says which file, and what to do."""
    path = tmp_path / "第一.txt"
    path.write_bytes(data)
    with refused(id, path=path):
        read_text(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its path and the reason."""
    with refused("captions.unreadable", path=tmp_path / "gone.txt", reason="No such file or directory"):
        read_text(tmp_path / "gone.txt")


@pytest.mark.parametrize(
    "stem, regex, join, caption",
    [
        ("a red cat", "", " ", "a red cat"),
        ("0012-3 a red cat", "", " ", "a red cat"),
        ("-5", "", " ", ""),
        ("12", "", " ", ""),
        ("007cat-2", "", " ", "cat-2"),
        ("01_cat", "", " ", "_cat"),
        ("3 red_cat;blue", "[a-z]+", ", ", "red, cat, blue"),
        ("red cat", "z+", " ", ""),
        ("red-1 cat-2", r"([a-z]+)-\d", "|", "red|cat"),
        ("red-1", r"([a-z]+)-(\d)", "|", "red"),
        ("[a] (b)", "", " ", "[a] (b)"),
        ("两只 猫", "", " ", "两只 猫"),
    ],
)
def test_words_of_the_file_name(tmp_path: Path, stem: str, regex: str, join: str, caption: str) -> None:
    """Leading digits and dashes go, then the regex's matches are joined: the WebUI's rules."""
    assert CaptionFiles(tmp_path, regex, join).of(tmp_path / f"{stem}.png") == ImageCaption(caption)


def test_a_caption_beside_the_picture_comes_first(tmp_path: Path) -> None:
    """Its text counts, even if empty, whatever the regex; a line that ends with a comma goes on."""
    picture = tmp_path / "1 name.tar.png"
    beside = tmp_path / "1 name.tar.txt"
    for data, caption in ((b"a cat,\r\n  sitting\n\n", "a cat, sitting"), (b"", ""), (b"\xef\xbb\xbfa", "a")):
        beside.write_bytes(data)
        assert CaptionFiles(tmp_path, "[a-z]+").of(picture) == ImageCaption(caption, beside.name)
    beside.unlink()
    assert CaptionFiles(tmp_path).of(picture) == ImageCaption("name.tar")


def test_own_templates_are_found_by_name() -> None:
    """With or without suffix; each line of them holds the word or the caption."""
    assert own_templates() == ["none", "style", "style_filewords", "subject", "subject_filewords"]
    for name in own_templates():
        lines = read_template(name)
        assert lines == read_template(f"{name}.txt")
        assert all("[filewords]" in line for line in lines) is (name == "none" or name.endswith("filewords"))
        assert all("[name]" in line for line in lines) is (name != "none")


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfa [name]\r\n\r\n  \r\nb [name]", "a [name]\n\nb [name]\n".encode("utf-16")]
)
def test_template_lines(tmp_path: Path, data: bytes) -> None:
    """BOM, CRLF and blank lines are nothing."""
    path = tmp_path / "模板.txt"
    path.write_bytes(data)
    assert read_template(str(path)) == ("a [name]", "b [name]")
    assert read_template(f' "{path}" ') == ("a [name]", "b [name]")


def test_a_template_that_is_no_use_is_told(tmp_path: Path) -> None:
    """Missing: what there is; a folder is no template; empty: what to write."""
    (tmp_path / "empty.txt").write_text(" \n\n")
    for template in (str(tmp_path / "gone.txt"), str(tmp_path), "", "subjekt", "~nobody-here/x.txt"):
        with refused("captions.no_template", template=template, names=own_templates()):
            read_template(template)
    with refused("captions.empty_template", path=tmp_path / "empty.txt"):
        read_template(str(tmp_path / "empty.txt"))


@pytest.mark.parametrize(
    "line, caption, prompt",
    [
        ("a photo of [name]", "x", "a photo of it"),
        ("[filewords] by [name]", "a  b", "a b by it"),
        ("[filewords]", "a [name] here", "a it here"),
        ("[filewords]", "a b", "a b"),
        ("[name] [name]", "", "it it"),
        ("a (photo) [of] [Name]", "", "a (photo) [of] [Name]"),
    ],
)
def test_a_line_is_filled_in(line: str, caption: str, prompt: str) -> None:
    """First the caption, then the word: a caption may hold [name]."""
    assert expand(line, caption, rules()) == prompt


@pytest.mark.parametrize(
    "caption, prompt",
    [("a cat", "it a cat"), ("a cat, it", "a cat, it"), ("a kit", "it a kit"), ("", "it"), ("IT", "it IT")],
)
def test_the_word_goes_in_front_where_the_prompt_lacks_it(caption: str, prompt: str) -> None:
    """Found as the tokenizer finds it, not by its letters ("kit" does not hold "it")."""
    assert expand("[filewords]", caption, rules(prepend_word=True)) == prompt
    assert expand("[filewords]", caption, rules()) == caption


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["red", "a blue sky", "kit", "x y"]), max_size=6),
    st.integers(0, 6),
    st.sampled_from(["it", "one it here", "[name]"]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_the_word_is_never_lost(
    others: list[str], at: int, tag: str, dropout: float, shuffled: bool, seed: int
) -> None:
    """Shuffle and dropout at any strength leave a prompt that holds the word, and invent no tag."""
    caption = ", ".join([*others[:at], tag, *others[at:]])
    drawn = vary(caption, rules(shuffle_tags=shuffled, tag_dropout=dropout), torch.Generator().manual_seed(seed))
    assert READER.read(expand("[filewords]", drawn, rules())).holds("it")
    left = drawn.split(", ")
    assert all(left.count(one) <= [*others, tag].count(one) for one in left)
    if dropout == 0:
        assert sorted(left) == sorted([*others, tag])
    if not shuffled:
        kept = iter([*others[:at], tag, *others[at:]])
        assert all(one in kept for one in left)  # in the order of the caption


def test_dropout_drops_as_often_as_it_says() -> None:
    """Each tag by itself, with the chance given; a tag that only looks like the word is dropped like others."""
    rng = torch.Generator().manual_seed(1)
    draws = [vary("a, kit, c, d", rules(tag_dropout=0.25), rng).split(", ") for _ in range(800)]
    for tag in ("a", "kit", "c", "d"):
        assert sum(tag in drawn for drawn in draws) / 800 == pytest.approx(0.75, abs=0.05)
    assert vary("a, kit", rules(tag_dropout=1.0), rng) == ""


def test_shuffling_gives_every_order() -> None:
    """Three tags come in all six orders, and the random generator decides which."""
    rng = torch.Generator().manual_seed(2)
    assert len({vary("a, b, c", rules(shuffle_tags=True), rng) for _ in range(100)}) == 6
    same = [vary("a, b, c", rules(shuffle_tags=True), torch.Generator().manual_seed(3)) for _ in range(2)]
    assert same[0] == same[1]


def test_each_template_line_is_as_likely() -> None:
    """Lines are drawn evenly."""
    rng = torch.Generator().manual_seed(4)
    drawn = [draw_line(("a", "b", "c"), rng) for _ in range(900)]
    for line in "abc":
        assert drawn.count(line) / 900 == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize(
    "name",
    ["a b.txt", "a b.TXT", "a b.Txt", "a b.caption", "a b.CAPTION", "a b.png.txt", "a b.PNG.txt", "a b.png.caption"],
)
def test_texts_of_other_programs_are_read(tmp_path: Path, name: str) -> None:
    """Under every name that trainers and taggers give them."""
    (tmp_path / name).write_text("a red cat\n")
    assert CaptionFiles(tmp_path).of(tmp_path / "a b.png") in (
        ImageCaption("a red cat", name),
        ImageCaption("a b"),  # of another image, whose suffix is in capitals
    )
    if name != "a b.PNG.txt":
        assert CaptionFiles(tmp_path).of(tmp_path / "a b.png").source == name


@pytest.mark.parametrize(
    "name, data",
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "a cat"}\n\n{"file_name": "b.png", "text": "a dog"}'),
        ("metadata.jsonl", '\ufeff{"file_name": "./a.png", "prompt": "a cat", "w": 1}\r\n[]\n{"file_name": 5}'),
        ("metadata.csv", 'file_name,text\na.png,"a cat"\n'),
        ("Metadata.JSONL", '{"file_name": "a.png", "caption": "a cat"}'),
        ("metadata.csv", 'file_name;text\r\na.png;"a cat"\r\n'),
        ("metadata.csv", "file_name\ttext\tmore\na.png\ta cat\tx, y; z\n"),
        ("metadata.jsonl", '{"file_name": "a.png", "additional_feature": "a cat", "size": 5}'),
        ("metadata.csv", "File_Name,Text\na.png,a cat\n"),
        ("metadata.csv", "file_name,text\rA.PNG,a cat\r"),
        ("metadata.jsonl", '{"image": "a.png", "text": "a cat"}\r{"path": "b.png", "text": "a dog"}'),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "a \\ud83dcat\\u0000"}'),
    ],
)
def test_tables_are_read(tmp_path: Path, name: str, data: str) -> None:
    """As Hugging Face's imagefolder keeps them."""
    (tmp_path / name).write_text(data, "utf-8")
    files = CaptionFiles(tmp_path)
    assert files.of(tmp_path / "a.png") == ImageCaption("a cat", name)
    assert files.of(tmp_path / "c.png") == ImageCaption("c")
    assert not files.problems


def test_names_that_differ_in_case_alone_are_two(tmp_path: Path) -> None:
    """Each has its own row; another image, which could be either, has none."""
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,a cat\nA.png,a dog\n")
    files = CaptionFiles(tmp_path)
    assert [files.of(tmp_path / name).text for name in ("a.png", "A.png")] == ["a cat", "a dog"]
    assert files.of(tmp_path / "a.PNG").source == ""


def test_a_caption_may_be_called_in_other_letter_case(tmp_path: Path) -> None:
    """As cameras and Windows name files, and the WebUI's trainer there finds them; an image that is so called has it
    alone, and so does a caption that is called as the image."""
    images = ("IMG_1.PNG", "IMG_2.PNG", "img_2.png", "IMG_3.png", "IMG_4.JPG")
    captions = ("img_1.txt", "img_2.txt", "IMG_3.txt", "img_3.txt", "img_4.jpg.txt")
    for name in (*images, *captions, "img_1.npz"):
        (tmp_path / name).write_text(name)
    if len([*tmp_path.iterdir()]) < 11:
        pytest.skip("the file system takes both names for one")
    files = CaptionFiles(tmp_path)
    found = [files.of(tmp_path / name).source for name in images]
    assert found == ["img_1.txt", "", "img_2.txt", "IMG_3.txt", "img_4.jpg.txt"]
    assert CaptionFiles(tmp_path, extension="txt").of(tmp_path / "IMG_1.PNG").source == "img_1.txt"


def test_a_pair_of_halves_is_a_character(tmp_path: Path) -> None:
    """As JSON writes what lies beyond sixteen bits."""
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a \\ud83d\\ude00 cat"}')
    assert CaptionFiles(tmp_path).of(tmp_path / "a.png").text == "a \U0001f600 cat"


@pytest.mark.parametrize("data", ["1girl, solo, smile", "1girl\nsolo\nsmile\n", "1girl,\r\n\r\nsolo, smile,"])
def test_lines_of_a_file_of_tags_are_tags(tmp_path: Path, data: str) -> None:
    """And not captions to choose from; a text comes first."""
    (tmp_path / "a.TAGS").write_bytes(data.encode())
    assert CaptionFiles(tmp_path).of(tmp_path / "a.png") == ImageCaption("1girl, solo, smile", "a.TAGS")
    (tmp_path / "a.txt").write_text("a girl")
    assert CaptionFiles(tmp_path).of(tmp_path / "a.png") == ImageCaption("a girl", "a.txt", ("a.TAGS",))


def test_a_table_of_the_folder_above(tmp_path: Path) -> None:
    """Its names are paths from there; one in the image's own folder comes first."""
    (tmp_path / "x").mkdir()
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "x/a.png", "text": ["a cat", "a red cat"]}')
    assert CaptionFiles(tmp_path).of(tmp_path / "x" / "a.png").text == "a cat\na red cat"
    (tmp_path / "x" / "metadata.csv").write_text("file_name,text\na.png,a dog\n")
    expected = ImageCaption("a dog", "metadata.csv", ("metadata.jsonl",))
    assert CaptionFiles(tmp_path).of(tmp_path / "x" / "a.png") == expected


@pytest.mark.parametrize("data", [b"{", b"\xff\xff", b"[" * 100_000])
def test_a_table_that_cannot_be_read_is_told(tmp_path: Path, data: bytes) -> None:
    """Once, and not taken for one without captions."""
    (tmp_path / "metadata.jsonl").write_bytes(data)
    files = CaptionFiles(tmp_path)
    files.of(tmp_path / "a.png")
    files.of(tmp_path / "b.png")
    assert ids(files.problems) == ["captions.table_unreadable"]


def test_the_line_of_a_table_that_is_no_json_is_told(tmp_path: Path) -> None:
    """Not line 1, as each is read by itself."""
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "a"}\n\n{"file_name": "b.png", text: "b"}\n'
    )
    files = CaptionFiles(tmp_path)
    files.of(tmp_path / "a.png")
    assert "(line 3, column 24)" in files.problems[0]


def test_files_that_disagree_are_told(tmp_path: Path) -> None:
    """The first in order counts; the same text twice is no matter."""
    (tmp_path / "a.txt").write_text("a cat")
    (tmp_path / "a.png.txt").write_text(" a cat ")
    (tmp_path / "a.caption").write_text("a dog")
    assert CaptionFiles(tmp_path).of(tmp_path / "a.png") == ImageCaption("a cat", "a.txt", ("a.caption",))


def test_lines_are_captions(tmp_path: Path) -> None:
    """One is drawn at each visit, each of them sometimes; of a single one no random number is taken."""
    (tmp_path / "a.txt").write_text("a cat\r\n\n  a   red cat\ncat, \n  red,\nfurry\n")
    caption = CaptionFiles(tmp_path).of(tmp_path / "a.png").text
    assert caption == "a cat\na red cat\ncat, red, furry"
    rng = torch.Generator().manual_seed(0)
    subset = Subset(("[filewords]",), rules())
    drawn = {subset.sample_prompt(caption, rng) for _ in range(50)}
    assert drawn == {"a cat", "a red cat", "cat, red, furry"}
    assert subset.fixed_prompt(caption) == "a cat"
    state = rng.get_state()
    assert draw_caption("a cat", rng) == "a cat"
    assert torch.equal(state, rng.get_state())


@pytest.mark.parametrize(
    "caption, tags",
    [
        ("1girl, solo,smile", ["1girl", "solo", "smile"]),
        ("一个女孩，独自、微笑", ["一个女孩", "独自", "微笑"]),
        ("a girl, 微笑，red hair", ["a girl", "微笑", "red hair"]),
        ("بنت، ابتسامة", ["بنت", "ابتسامة"]),
        ("ein Hund; grün ；rot", ["ein Hund", "grün", "rot"]),
        ("1girl, ;d, :;", ["1girl", ";d", ":;"]),
        ("a photo of a cat", ["a photo of a cat"]),
    ],
)
def test_tags_are_parted_as_people_part_them(caption: str, tags: list[str]) -> None:
    """By the commas of every script; by semicolons only where there is no comma, for some tags hold one."""
    assert split_tags(caption) == tags
    drawn = vary(caption, rules(shuffle_tags=True), torch.Generator().manual_seed(0))
    assert sorted(drawn.split(", ")) == sorted(tags)


@pytest.mark.parametrize("emphasis", [False, True])
def test_an_escaped_bracket_is_a_bracket(emphasis: bool) -> None:
    """As taggers write them. With emphasis its parser needs the backslash."""
    caption = r"saber \(fate\), \[x\], a\b"
    expected = caption if emphasis else r"saber (fate), [x], a\b"
    assert expand("[filewords]", caption, rules(emphasis=emphasis)) == expected
