// Files on their way to the program: several at once, tried again when the connection is lost, each told by name.
import { put, Unreachable } from "../api.js";

const AT_ONCE = 3;
const WAITS = [1000, 2000, 4000, 8000]; // milliseconds before each further try
const LEFT_ALONE = /^(\.|thumbs\.db$|desktop\.ini$)/i;

const BESIDE = [".txt", ".caption", "-masklabel.png"]; // how the names of what belongs to an image end

/** @typedef {{name: string, file: Blob}} Sent */

const endOf = (name) => BESIDE.find((end) => name.toLowerCase().endsWith(end));
const stem = (name) => name.replace(/\.[^.]*$/, "");

/**
 * A caption or a mask, called as its image is now; in other letter case, too, as Windows takes it. @param {Sent} one
 * @param {Map<string, string>} saved the names under which images were saved, by those that they came with
 * @returns {Sent}
 */
export function besideItsImage(one, saved) {
    const end = one.name.slice(-endOf(one.name).length);
    const own = one.name.slice(0, -end.length);
    for (const same of [(text) => text, (text) => text.toLowerCase()])
        for (const [before, now] of saved) {
            if (same(own) === same(stem(before))) return { ...one, name: stem(now) + end };
            if (same(own) === same(before)) return { ...one, name: now + end };
        }
    return one;
}

/**
 * All files of what was dropped, those in folders, too, each with its path below the folder that was dropped.
 * @param {DataTransfer} dropped @returns {Promise<{title: string, files: Sent[]}>} `title` is that folder's name
 */
export async function filesOf(dropped) {
    const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return { title: "", files: named([...dropped.files]) };
    const single = entries.length === 1 && entries[0].isDirectory ? entries[0] : null;
    const files = [];
    for (const entry of entries) await collect(entry, "", files, single === entry);
    return { title: single ? single.name : "", files };
}

/** @param {File[]} files those of an `<input type=file>` */
export function named(files) {
    return files.filter((file) => !LEFT_ALONE.test(file.name)).map((file) => ({ name: file.name, file }));
}

async function collect(entry, path, files, isTop) {
    if (LEFT_ALONE.test(entry.name)) return;
    if (entry.isFile) {
        const file = await new Promise((done, fail) => entry.file(done, fail));
        files.push({ name: path + entry.name, file });
        return;
    }
    const reader = entry.createReader();
    for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail)); // a hundred at a time
        if (!some.length) return;
        for (const inner of some) await collect(inner, isTop ? "" : `${path}${entry.name}/`, files, false);
    }
}

/**
 * Send files into a folder: images first, as another of the name may be there, and captions and masks follow them. Those
 * that the program refuses are `problems`; those that did not get there are `left`.
 * @param {string} folder @param {Sent[]} files
 * @param {(state: {done: number, total: number, waiting: boolean}) => void} tell
 * @param {{send?: typeof put, wait?: (time: number) => Promise<void>, stopped?: () => boolean}} [by] for tests
 * @returns {Promise<{saved: number, problems: string[], left: Sent[]}>}
 */
export async function upload(folder, files, tell, by = {}) {
    const { send = put, wait = (time) => new Promise((done) => setTimeout(done, time)), stopped = () => false } = by;
    const todo = files.filter((one) => !endOf(one.name)).reverse(); // taken from the end
    const names = new Map();
    const problems = [];
    const left = [];
    let saved = 0,
        given = false;
    const say = (waiting = false) => tell({ done: saved + problems.length, total: files.length, waiting });
    async function one(next) {
        for (const pause of [...WAITS, null]) {
            if (given || stopped()) break;
            try {
                const there = await send("images/upload", { folder, name: next.name }, next.file);
                if (there?.name) names.set(next.name, there.name);
                saved += 1;
                return;
            } catch (error) {
                if (!(error instanceof Unreachable)) {
                    problems.push(...(error.problems ?? [String(error)]));
                    return;
                }
                if (pause === null)
                    given = true; // the others need not be tried so long, too
                else {
                    say(true);
                    await wait(pause);
                }
            }
        }
        left.push(next);
    }
    async function worker() {
        for (let next = todo.pop(); next; next = todo.pop()) {
            await one(next);
            say();
        }
    }
    say();
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    todo.push(
        ...files
            .filter((one) => endOf(one.name))
            .map((one) => besideItsImage(one, names))
            .reverse(),
    );
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return { saved, problems, left };
}
