// A settings file of this program or another trainer, taken into the form: chosen, or dropped where images are.
import { send } from "../files.js";
import { useState } from "../html.js";
import { t } from "../texts.js";

/** @param {{name: string}[]} files what was dropped, which is a settings file if it is one alone and called so */
export const isSettingsFile = (files) => files.length === 1 && /^[^/]*\.(toml|json)$/i.test(files[0].name);

/** Some of the settings. @param {Record<string, any>} given @param {string[]} names @returns {Record<string, any>} */
export const only = (given, names) =>
    Object.fromEntries(Object.entries(given).filter(([name]) => names.includes(name)));

/**
 * What is set and stays when other settings are taken: which word and which images, each unless those say it.
 * @param {Record<string, any>} given @param {Record<string, any>} taken @param {any} form
 */
export function staying(given, taken, form) {
    const own = form?.of_one_run ?? [];
    const said = new Set(own.filter((name) => name in taken).map((name) => form.byName[name].group));
    return only(
        given,
        own.filter((name) => !said.has(form.byName[name].group)),
    );
}

const NOTHING = { said: null, notes: [], error: null };

/** `read(file)` takes its settings. `said`, with the way back, and `notes` on what is not used, or `error`: what came of it. */
export function useSettingsFile(given, form, take) {
    const [state, setState] = useState(NOTHING);
    const close = () => setState(NOTHING);
    async function read(file) {
        try {
            const { settings, sentences } = await send("settings/read", { name: file.name }, file);
            const undo = async () => {
                take(given);
                close();
            };
            take({ ...staying(given, settings, form), ...settings });
            const said = { sentences: [t("train.taken_from", { from: file.name })], undo };
            setState({ said, notes: sentences, error: null });
        } catch (error) {
            setState((last) => ({ ...last, error })); // what was taken before can still be undone
        }
    }
    return { ...state, read, close };
}
