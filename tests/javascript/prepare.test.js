import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { findingsOf, ordered } from "../../javascript/tinv/prepare/report.js";
import { takeTexts } from "../../javascript/tinv/texts.js";

const images = (count) =>
    Array.from({ length: count }, (_, index) => ({
        name: `${index}`,
        findings: index % 100 === 99 ? { small: "x" } : {},
    }));

test("of very many images those with findings come first, each part in its order", () => {
    assert.deepEqual(ordered(images(200)), images(200));
    const names = ordered(images(300)).map(({ name }) => name);
    assert.deepEqual(names.slice(0, 5), ["99", "199", "299", "0", "1"]);
    assert.equal(new Set(names).size, 300);
});

test("findings are joined as the page's language has it", () => {
    const image = { findings: { small: "太小", blurred: "模糊" } };
    const file = new URL("../../tinv_ext/localizations/zh_CN/prepare_page.json", import.meta.url);
    takeTexts({ language: "zh_CN", texts: JSON.parse(readFileSync(file, "utf-8")) });
    assert.equal(findingsOf(image), "太小；模糊");
    assert.equal(findingsOf({ findings: {} }), "");
});
