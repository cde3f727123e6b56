// Several words of one run: the tables that are the setting `words`. What a table does not say is as the run says.
import { changed } from "../kept.js";

/** @typedef {Record<string, any>} Table */

const BY_ITSELF = ["images", "in_json", "dataset_config", "words"]; // which a word does not have from the run

/**
 * The tables of a setting, as a list, or as the text that a run has written; null where only the program can read it.
 * @param {unknown} given @returns {Table[] | null}
 */
export function tablesOf(given) {
    if (given === undefined || given === null || given === "") return [];
    let found = /** @type {any} */ (given);
    if (typeof given === "string") {
        try {
            found = JSON.parse(given);
        } catch {
            return null;
        }
    }
    const list = Array.isArray(found) ? found : found?.words;
    return Array.isArray(list) && list.every((one) => one && typeof one === "object") ? list : null;
}

/** Whether a table that comes from elsewhere is of the word that the run goes by. @param {Table} table @param {any} given */
export const isFirst = (table, given) => table.name !== undefined && table.name === (given.name ?? "");

/** The setting for tables: none where there are none. @param {Table[]} tables */
export const settingOf = (tables) => (tables.length ? tables : undefined);

/**
 * The settings of a run as they are for one word and its own images.
 * @param {Record<string, any>} given @param {Table} table @param {string[]} own what only a word has
 */
export function ofWord(given, table, own) {
    const run = Object.fromEntries(Object.entries(given).filter(([name]) => !BY_ITSELF.includes(name)));
    const beside = table.images && given.in_json ? { in_json: given.in_json } : {};
    const of_it = Object.entries(table).filter(([name]) => !own.includes(name));
    return changed({ ...run, ...beside }, Object.fromEntries(of_it));
}

/** The settings of a run without the images that its words have for themselves. @param {Record<string, any>} given */
export function withoutOwn(given) {
    const tables = tablesOf(given.words);
    if (!tables) return given;
    const named = tables.filter((one) => one.name).map(({ name }) => ({ name }));
    return changed(given, { words: settingOf(named) });
}
