import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused, Unreachable } from "../../javascript/tinv/api.js";
import { addEach } from "../../javascript/tinv/embeddings/add.js";
import { span } from "../../javascript/tinv/embeddings/norms.js";
import { matching, sorted } from "../../javascript/tinv/embeddings/order.js";
import { shares } from "../../javascript/tinv/embeddings/shares.js";
import { nameOf } from "../../javascript/tinv/files.js";

const ITEMS = [
    { key: "a/Zebra 10.pt", name: "Zebra 10", family: "SDXL", changed: 1 },
    { key: "zebra 9.pt", name: "zebra 9", family: null, changed: 3 },
    { key: "cat.pt", name: "cat", family: "SD1", changed: 2 },
];

test("a search finds every word of it, in folders, names and models", () => {
    assert.deepEqual(
        matching(ITEMS, "ZEBRA sdxl").map((item) => item.name),
        ["Zebra 10"],
    );
    assert.equal(matching(ITEMS, "  ").length, 3);
    assert.equal(matching(ITEMS, "zebra sd1").length, 0);
});

test("numbers in names are sorted as numbers, unknown models come last", () => {
    const names = (order) => sorted(ITEMS, order).map((item) => item.name);
    assert.deepEqual(names("name"), ["cat", "zebra 9", "Zebra 10"]);
    assert.deepEqual(names("family"), ["cat", "Zebra 10", "zebra 9"]);
    assert.deepEqual(names("changed"), ["zebra 9", "cat", "Zebra 10"]);
});

test("shares are whole percents that sum up to 100", () => {
    assert.deepEqual(shares([1, 1, 1]), [34, 33, 33]);
    assert.deepEqual(shares([75, 25]), [75, 25]);
    assert.deepEqual(shares([0, 0]), [0, 0]);
    assert.equal(
        shares([3, 7, 11, 13]).reduce((sum, one) => sum + one, 0),
        100,
    );
});

test("a norm's place keeps the order, and stays on the bar", () => {
    const place = span([0.4, 40], { least: 0.3, greatest: 0.5 });
    const at = (norm) => Number.parseFloat(place(norm));
    assert.ok(0 < at(0.3) && at(0.3) < at(0.4) && at(0.4) < at(0.5) && at(0.5) < at(40) && at(40) < 100);
    assert.equal(place(0), "0.0%");
    assert.equal(at(1e9), 100);
    assert.equal(span([], null)(1), "0.0%");
});

test("a file is called as the header says, in any language", () => {
    assert.equal(nameOf("attachment; filename*=utf-8''%E7%8C%AB%20x.pt"), "猫 x.pt");
    assert.equal(nameOf('attachment; filename="cat.pt"'), "cat.pt");
    assert.equal(nameOf(""), "");
});

test("a file that is refused is told by its name, and the others are added", async () => {
    const answers = {
        "bad.png": new Refused(422, ["The image carries no embedding."], ["formats.none"]),
        "cat.pt": new Refused(422, ['"cat.pt" already exists.'], ["library.exists"]),
        "lost.pt": new Unreachable("gone"),
    };
    const give = async ({ name }) => {
        if (answers[name]) throw answers[name];
        return { key: name, sentences: [`Added ${name}.`] };
    };
    const files = (...names) => names.map((name) => /** @type {any} */ ({ name }));
    const result = await addEach(files("bad.png", "cat.pt", "dog.pt"), give);
    assert.deepEqual([result.key, result.sentences], ["dog.pt", ["Added dog.pt."]]);
    assert.deepEqual(result.error?.problems, ["bad.png: The image carries no embedding.", '"cat.pt" already exists.']);
    assert.deepEqual(result.taken, files("cat.pt")); // nothing else is replaced
    const lost = await addEach(files("dog.pt", "lost.pt", "fox.pt"), give);
    assert.ok(lost.error instanceof Unreachable);
    assert.deepEqual(lost.sentences, ["Added dog.pt."]);
});
