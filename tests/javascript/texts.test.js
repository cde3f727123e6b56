import assert from "node:assert/strict";
import { test } from "node:test";
import { format, locale, t, takeTexts } from "../../javascript/tinv/texts.js";

test("a template counts, joins and rounds as core/messages.py does", () => {
    assert.equal(format("{n:image|images} of {folder}", { n: 1, folder: "a" }), "1 image of a");
    assert.equal(format("{n:image|images}", { n: 0 }), "0 images");
    assert.equal(format("{all:; }!", { all: ["a", "b"] }), "a; b!");
    assert.equal(format("{all}", { all: ["a", "b"] }), "a, b");
    assert.equal(format("loss {loss:.4f}", { loss: 0.12345 }), "loss 0.1235");
    assert.equal(format("{{x}} {gone}", {}), "{x} ");
});

test("a value that looks like a template is left as it is", () => {
    assert.equal(format("{name}: {n}", { name: "{n}$&", n: 3 }), "{n}$&: 3");
});

test("texts are those of the language that was sent", () => {
    takeTexts({ language: "zh_CN", texts: { "page.close": "关闭" } });
    assert.equal(t("page.close"), "关闭");
    assert.equal(locale(), "zh-CN");
    assert.equal(t("page.unknown"), "page.unknown");
});
