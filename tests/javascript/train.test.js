import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused, Unreachable } from "../../javascript/tinv/api.js";
import { there } from "../../javascript/tinv/device.js";
import { changed, kept } from "../../javascript/tinv/kept.js";
import { matches } from "../../javascript/tinv/train/advanced.js";
import { besideItsField } from "../../javascript/tinv/train/control.js";
import { empty, grey as greyOf, inverted, PAINT, painted } from "../../javascript/tinv/train/mask.js";
import { isSettingsFile, staying } from "../../javascript/tinv/train/settings_file.js";
import { isFirst, ofWord, tablesOf, withoutOwn } from "../../javascript/tinv/train/tables.js";
import { ofTxt2img } from "../../javascript/tinv/train/txt2img.js";
import { filesOf, named, upload } from "../../javascript/tinv/train/upload.js";

const files = (count) => Array.from({ length: count }, (_, index) => ({ name: `${index}.png`, file: index }));
const quiet = () => {};
const wait = async () => {};

test("two thousand files are sent, a few at a time", async () => {
    let now = 0,
        most = 0;
    const send = async () => {
        most = Math.max(most, (now += 1));
        await null;
        now -= 1;
    };
    const states = [];
    const done = await upload("/f", files(2000), (state) => states.push(state.done), { send, wait });
    assert.deepEqual(done, { saved: 2000, problems: [], left: [] });
    assert.ok(most > 1 && most <= 3);
    assert.equal(states.at(-1), 2000);
});

test("what is refused is told by name, and the others are saved", async () => {
    const send = async (_, { name }) => {
        if (name === "1.png") throw new Refused(422, ['"1.png" is no image.']);
    };
    assert.deepEqual(await upload("/f", files(3), quiet, { send, wait }), {
        saved: 2,
        problems: ['"1.png" is no image.'],
        left: [],
    });
});

test("a connection that comes back loses nothing; one that stays away leaves what is left to send", async () => {
    const failing = new Map([["0.png", 2]]);
    const send = async (_, { name }) => {
        const more = failing.get(name) ?? 0;
        failing.set(name, more - 1);
        if (more > 0) throw new Unreachable("gone");
    };
    assert.deepEqual((await upload("/f", files(4), quiet, { send, wait })).saved, 4);
    let tries = 0;
    const never = async () => {
        tries += 1;
        throw new Unreachable("gone");
    };
    const lost = await upload("/f", files(100), quiet, { send: never, wait });
    assert.equal(lost.saved, 0);
    assert.equal(lost.left.length, 100);
    assert.ok(tries < 30, `${tries} tries`);
});

test("captions and masks follow an image that is saved under another name", async () => {
    const there = new Set(["1.png", "img_4.JPG"]);
    const send = async (_, { name }) => {
        const flat = name.replaceAll("/", "-");
        const free = there.has(flat) ? flat.replace(/(\.[^.]*)$/, " (2)$1") : flat;
        there.add(free);
        return { name: free };
    };
    const names = [
        "1.txt",
        "1-masklabel.png",
        "1.png",
        "2.PNG.TXT",
        "2.PNG",
        "sub/3.caption",
        "sub/3.jpg",
        "readme.txt",
    ];
    names.push("IMG_4.txt", "img_4.JPG");
    const sent = names.map((name) => ({ name, file: new Blob([]) }));
    const { saved, left } = await upload("/f", sent, quiet, { send, wait });
    assert.deepEqual([saved, left], [10, []]);
    const expected = ["1 (2).png", "1 (2).txt", "1 (2)-masklabel.png", "2.PNG", "2.PNG.TXT", "readme.txt"];
    assert.deepEqual(
        [...there].sort(),
        [...expected, "1.png", "img_4.JPG", "img_4 (2).JPG", "img_4 (2).txt", "sub-3.caption", "sub-3.jpg"].sort(),
    );
});

test("a dropped folder gives its files with their paths, and not what systems hide in it", async () => {
    const file = (name) => ({ isFile: true, name, file: (done) => done({ name }) });
    const folder = (name, inner) => ({
        isDirectory: true,
        name,
        createReader: () => {
            const parts = [inner.slice(0, 2), inner.slice(2), []];
            return { readEntries: (done) => done(parts.shift() ?? []) };
        },
    });
    const dropped = (...entries) => ({ items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })), files: [] });
    const cats = folder("猫", [file("a.png"), file(".DS_Store"), folder("more", [file("b.png"), file("Thumbs.db")])]);
    const found = await filesOf(dropped(cats));
    assert.deepEqual([found.title, found.files.map((one) => one.name)], ["猫", ["a.png", "more/b.png"]]);
    const two = await filesOf(dropped(folder("x", [file("a.png")]), file("b.png")));
    assert.deepEqual([two.title, two.files.map((one) => one.name)], ["", ["x/a.png", "b.png"]]);
    assert.deepEqual(
        named([{ name: "a.png" }, { name: "desktop.ini" }]).map((one) => one.name),
        ["a.png"],
    );
});

test("a setting is found by any of its words", () => {
    const about = { name: "preview_cfg_scale", label: "CFG scale", help: "How closely previews follow the prompt." };
    assert.ok(matches(about, "cfg") && matches(about, "PROMPT closely") && matches(about, "preview_cfg"));
    assert.ok(!matches(about, "cfg steps"));
});

test("previews take all of txt2img but a random seed", () => {
    const values = { txt2img_prompt: "a cat", txt2img_steps: "30", txt2img_seed: "-1", txt2img_scheduler: "Karras" };
    const taken = { preview_prompt: "a cat", preview_steps: 30, preview_scheduler: "Karras" };
    assert.deepEqual(
        ofTxt2img((id) => values[id]),
        taken,
    );
});

test("settings that were kept come back; what is no settings counts as none", () => {
    const store = new Map();
    globalThis.localStorage = { getItem: (key) => store.get(key) ?? null };
    assert.deepEqual(kept("tinv.train"), {});
    store.set("tinv.train", '{"name":"zibbo","steps":7}');
    assert.deepEqual(kept("tinv.train"), { name: "zibbo", steps: 7 });
    for (const odd of ["[1]", "null", "{", "7"]) {
        store.set("tinv.train", odd);
        assert.deepEqual(kept("tinv.train"), {});
    }
});

test("a change of what is kept: undefined takes it out", () => {
    assert.deepEqual(changed({ name: "zibbo", steps: 7 }, { steps: undefined, seed: 0 }), { name: "zibbo", seed: 0 });
});

test("a grey mask is paint where it is dark, and inverting it twice changes nothing", () => {
    const grey = [0, 128, 255];
    const pixels = painted(new Uint8ClampedArray(grey.flatMap((level) => [level, level, level, 255])));
    assert.deepEqual(
        [...pixels],
        grey.flatMap((level) => [...PAINT, 255 - level]),
    );
    assert.ok(!empty(pixels));
    assert.ok(empty(new Uint8ClampedArray(8)));
    const once = [...inverted(pixels)];
    assert.deepEqual(
        once,
        grey.flatMap((level) => [...PAINT, level]),
    );
    assert.deepEqual(
        [...inverted(pixels)],
        grey.flatMap((level) => [...PAINT, 255 - level]),
    );
    assert.deepEqual(
        [...greyOf(pixels)],
        grey.flatMap((level) => [level, level, level, 255]),
    );
});

test("paint is seen on black and on white", () => {
    const light = (0.2126 * PAINT[0] + 0.7152 * PAINT[1] + 0.0722 * PAINT[2]) / 255;
    assert.ok(light > 0.15 && light < 0.6);
});

test("a problem beside its field does not name the setting twice", () => {
    assert.equal(besideItsField("Seed (seed) must be whole.", "seed"), "Seed must be whole.");
    assert.equal(besideItsField("Seed (seed) needs Steps (steps).", "seed"), "Seed needs Steps (steps).");
});

test("tables of words are read as a list or as a run writes them; what only the program reads is left to it", () => {
    const list = [{ name: "cat-x1" }, { name: "dog-y2", images: "dogs" }];
    assert.deepEqual(tablesOf(list), list);
    assert.deepEqual(tablesOf(JSON.stringify(list)), list);
    assert.deepEqual(tablesOf(JSON.stringify({ words: list })), list);
    for (const none of [undefined, "", []]) assert.deepEqual(tablesOf(none), []);
    for (const other of ["[[words]]", '"cat"', "[1]"]) assert.equal(tablesOf(other), null);
    assert.deepEqual(
        list.map((one) => isFirst(one, { name: "cat-x1" })),
        [true, false],
    );
    assert.deepEqual(
        [{}, { name: "" }].map((one) => isFirst(one, {})),
        [false, true],
    );
});

test("the images of a word are those of its table, with what else the run says", () => {
    const given = { name: "cat", images: "cats", in_json: "m.json", template: "style", words: [], learning_rate: 1 };
    const table = { name: "dog", images: "dogs", lr_factor: 2, masked_loss: true };
    const own = ["lr_factor"];
    const shown = { name: "dog", images: "dogs", in_json: "m.json", template: "style", learning_rate: 1 };
    assert.deepEqual(ofWord(given, table, own), { ...shown, masked_loss: true });
    assert.deepEqual(ofWord(given, { name: "dog" }, own), { name: "dog", template: "style", learning_rate: 1 });
    const words = [{ name: "dog", images: "dogs" }, { images: "x" }];
    assert.deepEqual(withoutOwn({ images: "cats", words }), { images: "cats", words: [{ name: "dog" }] });
});

test("a device that is gone is no longer the chosen one", () => {
    const devices = [{ name: "cuda:1" }];
    assert.equal(there("cuda:1", devices), "cuda:1");
    assert.equal(there("cuda:2", devices), "");
    assert.equal(there("cuda:1", []), "");
});

test("one file alone that is called so is a settings file, not a caption file in a folder", () => {
    assert.ok(isSettingsFile([{ name: "mycat.TOML" }]));
    assert.ok(isSettingsFile([{ name: "config.json" }]));
    assert.ok(!isSettingsFile([{ name: "a.json" }, { name: "b.json" }]));
    assert.ok(!isSettingsFile([{ name: "cats/a.json" }]));
    assert.ok(!isSettingsFile([{ name: "cat.png" }]));
    assert.ok(!isSettingsFile([]));
});

test("the word and the images stay unless the settings that are taken say them", () => {
    const groups = { name: "word", words: "word", images: "images", dataset_config: "images", steps: "training" };
    const form = {
        of_one_run: ["name", "words", "images", "dataset_config"],
        byName: Object.fromEntries(Object.entries(groups).map(([name, group]) => [name, { group }])),
    };
    const given = { name: "zibbo", images: "cats", steps: 5 };
    assert.deepEqual(staying(given, { steps: 9 }, form), { name: "zibbo", images: "cats" });
    assert.deepEqual(staying(given, { dataset_config: "a.toml" }, form), { name: "zibbo" });
    assert.deepEqual(staying(given, { name: "ziba", images: "dogs" }, form), {});
    assert.deepEqual(staying(given, {}, null), {});
});
