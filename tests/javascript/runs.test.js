import assert from "node:assert/strict";
import { test } from "node:test";
import { madeAt, matching, moved, points, sizeOf } from "../../javascript/tinv/runs/order.js";
import { colour } from "../../javascript/tinv/runs/overlay.js";
import { presetName } from "../../javascript/tinv/runs/presets.js";

test("an entry moves up and down, and not beyond the ends", () => {
    assert.deepEqual(moved(["a", "b", "c"], 2, -1), ["a", "c", "b"]);
    assert.deepEqual(moved(["a", "b", "c"], 0, 1), ["b", "a", "c"]);
    assert.deepEqual(moved(["a", "b"], 0, -1), ["a", "b"]);
    assert.deepEqual(moved(["a", "b"], 1, 5), ["a", "b"]);
});

test("a search looks at names, dates and outcomes", () => {
    const runs = [
        { name: "felix", id: "2026-01-02/felix-10-00-00", status: "finished", status_word: "已完成" },
        { name: "rex", id: "2026-01-03/rex-10-00-00", status: "failed", status_word: "失败" },
    ];
    assert.deepEqual(
        matching(runs, "2026-01-02 已完成").map((run) => run.name),
        ["felix"],
    );
    assert.equal(matching(runs, "").length, 2);
});

test("a search finds a date as the cards show it, in the page's language", () => {
    const runs = ["2026-01-02", "2026-11-29"].map((day) => ({ name: "rex", id: day, started: `${day}T09:05:00` }));
    const found = (search, language) => matching(runs, search, language).map((run) => run.id);
    assert.deepEqual(found("nov 29, 2026", "en"), ["2026-11-29"]);
    assert.deepEqual(found("2026年1月2日", "zh-CN"), ["2026-01-02"]);
    assert.deepEqual(found("9:05 am", "en"), ["2026-01-02", "2026-11-29"]);
    assert.equal(matching([{ name: "rex", id: "x", started: null }], "rex").length, 1);
});

test("each run beside its name has the colour of its line, though one before has none yet", () => {
    assert.equal(colour(["b", "c"], "a"), "transparent");
    assert.notEqual(colour(["b", "c"], "b"), colour(["b", "c"], "c"));
    assert.equal(colour(["a", "b"], "a"), colour(["b", "c"], "b"));
});

test("a run that has gone on is looked at again, but not at every step", () => {
    const run = { id: "a", status: "training", steps: 3 };
    assert.equal(madeAt(run), madeAt({ ...run, steps: 4 }));
    assert.notEqual(madeAt(run), madeAt({ ...run, status: "finished" }));
    assert.notEqual(madeAt({ ...run, status: "finished", steps: 6 }), madeAt({ ...run, status: "finished", steps: 9 }));
});

test("runs of a sweep are found by what their names tell", () => {
    const names = ["0.005-seed-1", "0.005-seed-2", "0.01-seed-1"].map((told) => `cat-toy-learning_rate-${told}`);
    const runs = [...names, "dog"].map((name) => ({
        name,
        id: `2026-01-02/${name}`,
        status: "finished",
        status_word: "",
    }));
    const found = (search) => matching(runs, search).map((run) => run.name);
    assert.deepEqual(found("cat-toy"), names);
    assert.deepEqual(found("learning_rate-0.005"), names.slice(0, 2));
    assert.deepEqual(found("cat-toy seed-1"), [names[0], names[2]]);
});

test("sizes are in the unit that suits them", () => {
    const sizes = [0, 999, 1000, 4_321, 45_678, 999_499, 999_500, 1_234_567, 123_456_789, 2_400_000_000, 5e12];
    const texts = [
        "0 B",
        "999 B",
        "1.0 kB",
        "4.3 kB",
        "46 kB",
        "999 kB",
        "1.0 MB",
        "1.2 MB",
        "123 MB",
        "2.4 GB",
        "5.0 TB",
    ];
    assert.deepEqual(sizes.map(sizeOf), texts);
});

test("a curve fills its box, whatever its numbers", () => {
    assert.equal(
        points(
            [
                [0, 1],
                [5, Number.NaN],
                [10, 3],
            ],
            100,
            44,
        ),
        "0.0,42.0 100.0,2.0",
    );
    assert.equal(
        points(
            [
                [1, 2],
                [1, 2],
            ],
            100,
            44,
        ),
        "0.0,22.0 0.0,22.0",
    );
    assert.equal(points([[1, 2]], 100, 44), "");
});

test("a preset is called as it says itself, else as its file is", () => {
    assert.equal(presetName('{"name": "mine", "settings": {}}', "mine (1).json"), "mine");
    assert.equal(presetName('{"name": 3, "settings": {}}', "a.json"), "a");
    assert.equal(presetName("steps = 3", "mycat.TOML"), "mycat");
    assert.equal(presetName("null", "a.json"), "a");
});
