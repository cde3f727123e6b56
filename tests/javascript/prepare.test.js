import assert from "node:assert/strict";
import { test } from "node:test";
import { ordered } from "../../javascript/tinv/prepare/report.js";

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
