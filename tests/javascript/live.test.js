import assert from "node:assert/strict";
import { test } from "node:test";
import { allowed } from "../../javascript/tinv/live/commands.js";
import { gridOf, neighbour } from "../../javascript/tinv/live/grid.js";
import { bestSnapshot, columns, draw, isApart, LINES, lastAt, short } from "../../javascript/tinv/live/plot.js";
import { withPlace, withWord } from "../../javascript/tinv/live/txt2img.js";

const preview = (index, step, prompt) => ({ index, step, prompt, negative_prompt: "", seed: 1 });

test("previews are a row for each prompt and a column for each step", () => {
    const made = [preview(2, 20, "b"), preview(0, 10, "a"), preview(1, 20, "a")];
    const { steps, rows } = gridOf(made);
    assert.deepEqual(steps, [10, 20]);
    assert.deepEqual(
        rows.map((row) => [row.prompt, row.cells.map((cell) => cell?.index ?? null)]),
        [
            ["a", [0, 1]],
            ["b", [null, 2]],
        ],
    );
    assert.equal(neighbour(rows[0], made[1], 1).index, 1);
    assert.equal(neighbour(rows[0], made[1], -1), null);
    assert.equal(neighbour(rows[1], made[0], -1), null);
});

test("a prompt that a step has twice has two rows", () => {
    const { rows } = gridOf([preview(0, 1, "a"), preview(1, 1, "a"), preview(2, 2, "a"), preview(3, 2, "a")]);
    assert.deepEqual(
        rows.map((row) => row.cells.map((cell) => cell.index)),
        [
            [0, 2],
            [1, 3],
        ],
    );
});

test("the chart's columns go to uPlot as they came", () => {
    const chart = { steps: [1], high: [3], low: [2], rate: [4], smoothed: [5], evaluation: [null] };
    assert.deepEqual(columns(chart), [[1], ...LINES.map((line) => chart[line.name])]);
});

test("numbers are short, and a step without a value has the one before", () => {
    assert.deepEqual([0, 0.1234567, 0.00005, 1234567, null].map(short), ["0", "0.1235", "5.00e-5", "1.23e+6", ""]);
    assert.equal(lastAt([1, null, null], 2), 1);
    assert.equal(lastAt([null], 0), null);
});

test("the proposed snapshot is the best step, else the one with the lowest evaluation known by then", () => {
    const chart = { steps: [0, 5, 10, 15], evaluation: [4, 2, null, 3] };
    assert.equal(bestSnapshot([{ step: 0 }, { step: 10 }, { step: 15 }], chart).step, 10);
    const named = { ...chart, best: { step: 15, loss: 3 } };
    assert.equal(bestSnapshot([{ step: 0 }, { step: 10 }, { step: 15 }], named).step, 15);
    assert.equal(bestSnapshot([{ step: 0 }, { step: 10 }], named).step, 10);
    assert.equal(bestSnapshot([{ step: 3 }, { step: 6 }], null).step, 6);
    assert.equal(bestSnapshot([], chart), undefined);
});

test("a run obeys what its status lets it", () => {
    const of = (status, can_resume = false) => allowed({ status, can_resume });
    assert.ok(of("training").has("pause") && !of("training").has("resume"));
    assert.ok(of("paused").has("resume") && !of("paused").has("preview"));
    assert.equal(of("finished").size + of("stopping").size + of("stopped").size, 0);
    assert.deepEqual([...of("stopped", true)], ["resume"]);
});

test("the word becomes the place that the route fills in", () => {
    assert.equal(withPlace("a photo of zibbo, zibbo", "zibbo"), "a photo of [name], [name]");
    assert.equal(withPlace("a cat", "zibbo"), "[name], a cat");
    assert.equal(withPlace("A Zibbo, zibbos, the zibbo's, zibbo2", "zibbo"), "A [name], zibbos, the [name]'s, [name]2");
    assert.equal(withPlace("一张小明的照片", "小明"), "一张[name]的照片");
    assert.equal(withPlace("a (c++) of $1 and c++x", "c++"), "a ([name]) of $1 and [name]x");
    assert.equal(withPlace("[name] in a car, [name]", "name"), "[name] in a car, [name]");
});

test("a word is put behind what stands in a prompt", () => {
    assert.equal(withWord("a red circle, ", "zibbo"), "a red circle, zibbo");
    assert.equal(withWord(" ", "zibbo"), "zibbo");
});

test("a loss of another size than the evaluation has an axis of its own", () => {
    const chart = (loss, evaluation) => ({ smoothed: [null, loss, 9, loss], evaluation: [evaluation, null, null] });
    assert.equal(isApart(chart(0.8, 0.05)), true);
    assert.equal(isApart(chart(0.05, 0.8)), true);
    assert.equal(isApart(chart(0.06, 0.05)), false);
    assert.equal(isApart(chart(0.8, null)), false);
});

test("a stretch that was zoomed into stays while the curve goes on, and the whole one follows it", () => {
    const told = [];
    const plot = (x) => ({
        data: [[0, 1, 2, 3]],
        scales: { x },
        setData: (data, all) => told.push(["data", data[0].length, all]),
        setScale: (name, { min, max }) => told.push([name, min, max]),
    });
    draw(plot({ min: 1, max: 2 }), [[0, 1, 2, 3, 4]]);
    draw(plot({ min: 0, max: 3 }), [[0, 1, 2, 3, 4]]);
    assert.deepEqual(told, [
        ["data", 5, false],
        ["x", 1, 2],
        ["data", 5, true],
    ]);
});
