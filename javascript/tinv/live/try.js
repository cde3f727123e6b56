// A box in which the word is tried as it was saved, or with any step, without a txt2img tab; nothing is written.
import { postFile } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import { withPlace } from "./txt2img.js";

/** `word` has the file and the step in it, `snapshot` is the chosen one; either may be missing. */
export function Try({ word, snapshot }) {
    const ways = waysOf(word, snapshot);
    const [prompt, setPrompt] = useState(t("live.try_prompt", { name: word.name }));
    const [seed, setSeed] = useState(1);
    const [made, setMade] = useState({ busy: false, error: null, url: null, said: "" });
    useEffect(() => () => URL.revokeObjectURL(made.url), [made.url]);
    const generate = async (event) => {
        event.preventDefault();
        const { key, tried } = ways.find((way) => way.id === event.submitter?.id) ?? ways[0];
        setMade({ ...made, busy: true, error: null });
        const asked = { parts: [{ key }], prompt: withPlace(prompt, word.name), seed };
        try {
            const url = await postFile("image", {}, asked);
            const said = tried(prompt, seed);
            setMade({ busy: false, error: null, url, said });
        } catch (error) {
            setMade({ ...made, busy: false, error });
        }
    };
    return html`<details class="tinv-try">
        <summary>${snapshot ? t("live.try") : t("live.try_file")}</summary>
        <form class="tinv-stack" onSubmit=${generate}>
            <div class="tinv-row">
                <label class="tinv-grow">
                    ${t("live.prompt")}
                    <input type="text" id="tinv_try_prompt" required value=${prompt} onInput=${(event) => setPrompt(event.target.value)} />
                </label>
                <label>
                    ${t("live.seed_label")}
                    <input type="number" min="0" step="1" value=${seed} onInput=${(event) => setSeed(Number(event.target.value))} />
                </label>
                ${ways.map(
                    (
                        { id, label },
                        place,
                    ) => html`<button type="submit" key=${id} id=${id} disabled=${made.busy} aria-busy=${made.busy}
                        class=${`tinv-button ${place ? "" : "tinv-primary"}`}>${made.busy ? t("live.generating") : label}</button>`,
                )}
            </div>
            <${Problems} error=${made.error} />
            ${made.url && html`<img class="tinv-tried" src=${made.url} alt=${made.said} /><p class="tinv-quiet">${made.said}</p>`}
        </form>
    </details>`;
}

/** What can be tried: the chosen step, and the file where it holds another. */
function waysOf({ file, holds }, snapshot) {
    const ways = [];
    if (snapshot) {
        const { step, key } = snapshot;
        const tried = (prompt, seed) => t("live.tried", { step, prompt, seed });
        ways.push({ id: "tinv_try", key, label: t("live.generate", { step }), tried });
    }
    if (file && holds !== snapshot?.step) {
        const tried = (prompt, seed) => t("live.tried_file", { file, prompt, seed });
        ways.push({ id: "tinv_try_file", key: file, label: t("live.generate_file", { file }), tried });
    }
    return ways;
}
