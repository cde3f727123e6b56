// What one part of the page hands to another: settings to the form of a new run (`train/`), a run to where one is watched
// (`live/`).

/**
 * @param {Record<string, unknown>} settings @param {string} from what they are the settings of, for people
 */
export function takeSettings(settings, from) {
    document.dispatchEvent(new CustomEvent("tinv:settings", { detail: { settings, from } }));
    openTab("tinv_tab_train");
}

/** One of a person's own presets taken into that form: name and images there stay. @param {{name: string, settings: object}} preset */
export function takePreset(preset) {
    document.dispatchEvent(new CustomEvent("tinv:preset", { detail: preset }));
    openTab("tinv_tab_train");
}

/**
 * A folder of images taken into that form; what else is set there stays.
 * @param {string} folder @param {boolean} masks whether masks were made for them, which are to be used
 */
export function takeImages(folder, masks) {
    document.dispatchEvent(new CustomEvent("tinv:images", { detail: { folder, masks } }));
    openTab("tinv_tab_train");
}

/** The run of a job shown where a run is watched, instead of the current one. @param {string} job */
export function watchRun(job) {
    document.dispatchEvent(new CustomEvent("tinv:watch", { detail: { job } }));
    openTab("tinv_tab_train");
}

/** Click the head of one of gradio's tabs. 3.41 gives it no id, 4 calls it `<id>-button`. @param {string} id */
export function openTab(id) {
    const named = /** @type {HTMLElement | null} */ (document.getElementById(`${id}-button`));
    if (named) {
        named.click();
        return;
    }
    const tab = document.getElementById(id);
    const siblings = tab ? [...tab.parentElement.children].filter((child) => child.classList.contains("tabitem")) : [];
    const heads = tab?.parentElement.querySelectorAll(":scope > .tab-nav > button");
    /** @type {HTMLElement | undefined} */ (heads?.[siblings.indexOf(tab)])?.click();
}
