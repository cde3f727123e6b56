// Mounts one part of the page: its texts, its styles, its component; `<part>/part.js` exports the component.
import { connect, get } from "./api.js";
import { layOutBeforehand } from "./beforehand.js";
import { html, render, useErrorBoundary } from "./html.js";
import { translateLabels } from "./labels.js";
import { Problems } from "./problems.js";
import { letStick } from "./sticky.js";
import { language as spoken, takeTexts } from "./texts.js";
import { watchVisible } from "./visible.js";

let texts = null; // of the whole page, asked for once

/**
 * @param {HTMLElement} place what `tinv_ext/ui/mount.py` wrote
 * @param {string} root the path before /tinv
 * @returns {Promise<() => void>} takes the part out again
 */
export async function mount(place, root) {
    const { part, language, token } = place.dataset;
    connect({ root, token, language });
    texts ??= get("texts").then(takeTexts);
    texts.catch(() => {
        texts = null; // the next try asks again
    });
    const [{ default: Part }] = await Promise.all([
        import(`./${part}/part.js`),
        texts,
        styled("./style.css"),
        styled(`./${part}/style.css`),
    ]);
    translateLabels(place, spoken()).catch((error) => console.warn("tinv: labels stay in English", error));
    const visible = watchVisible(place);
    place.classList.add("tinv-app");
    const unstick = letStick(place);
    render(html`<${Guarded}><${Part} place=${place} visible=${visible} /></${Guarded}>`, place);
    const cancel = layOutBeforehand(place);
    return () => {
        cancel();
        visible.end();
        unstick();
        render(null, place);
    };
}

/** A part that breaks says so; the others go on. */
function Guarded({ children }) {
    const [error, retry] = useErrorBoundary((broken) => console.error("tinv", broken));
    return error ? html`<${Problems} error=${error} retry=${retry} />` : children;
}

/** @param {string} path a stylesheet beside this file; resolved when it is in force, or is not to be had */
function styled(path) {
    const address = new URL(path, import.meta.url).href;
    if (document.querySelector(`link[href="${address}"]`)) return Promise.resolve();
    const link = document.createElement("link");
    Object.assign(link, { rel: "stylesheet", href: address });
    return new Promise((done) => {
        link.onload = link.onerror = () => done(undefined);
        document.head.append(link);
    });
}
