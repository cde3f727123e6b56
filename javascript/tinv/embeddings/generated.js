// One image that follows what is asked for: the last wish is fulfilled next, those in between are left out.
import { fetched } from "../files.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";

const PAUSE = 300; // milliseconds after the last change

/** `request`: the body of POST /image, or null. Images are made one at a time. */
export function Generated({ request, alt, caption }) {
    const [state, setState] = useState({ url: "", error: null, busy: false });
    const wanted = useRef(null);
    const working = useRef(false);
    const here = useRef(true);
    const asked = JSON.stringify(request);

    async function work() {
        if (working.current) return;
        working.current = true;
        while (wanted.current && here.current) {
            const body = wanted.current;
            wanted.current = null;
            setState((before) => ({ ...before, busy: true }));
            try {
                const url = URL.createObjectURL((await fetched("image", {}, body)).content);
                setState((before) => {
                    URL.revokeObjectURL(before.url);
                    return { url, error: null, busy: false };
                });
            } catch (error) {
                setState((before) => ({ ...before, error, busy: false }));
            }
        }
        working.current = false;
    }
    useEffect(() => {
        if (!request) return undefined;
        const timer = setTimeout(() => {
            wanted.current = request;
            work();
        }, PAUSE);
        return () => clearTimeout(timer);
    }, [asked]);
    useEffect(() => {
        here.current = true;
        return () => {
            here.current = false;
        };
    }, []);
    if (!request && !state.url && !state.error) return html`<p class="tinv-quiet">${caption}</p>`;
    return html`<figure class=${`tinv-made ${state.busy ? "tinv-busy" : ""}`} aria-busy=${state.busy}>
        ${
            state.url
                ? html`<a href=${state.url} target="_blank" rel="noopener"><img src=${state.url} alt=${alt} /></a>`
                : html`<span class="tinv-picture tinv-letter">${state.busy ? t("embeddings.generating") : ""}</span>`
        }
        <figcaption>${caption}</figcaption>
        <${Problems} error=${state.error} />
    </figure>`;
}
