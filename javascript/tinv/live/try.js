// A box in which the word is tried with any step, without a txt2img tab; nothing is written.
import { postFile } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import { withPlace } from "./txt2img.js";

export function Try({ job, snapshot }) {
    const [prompt, setPrompt] = useState(t("live.try_prompt", { name: job.name }));
    const [seed, setSeed] = useState(1);
    const [made, setMade] = useState({ busy: false, error: null, url: null, said: "" });
    useEffect(() => () => URL.revokeObjectURL(made.url), [made.url]);
    const generate = async (event) => {
        event.preventDefault();
        setMade({ ...made, busy: true, error: null });
        const asked = { parts: [{ key: snapshot.key }], prompt: withPlace(prompt, job.name), seed };
        try {
            const url = await postFile("image", {}, asked);
            const said = t("live.tried", { step: snapshot.step, prompt, seed });
            setMade({ busy: false, error: null, url, said });
        } catch (error) {
            setMade({ ...made, busy: false, error });
        }
    };
    return html`<details class="tinv-try">
        <summary>${t("live.try")}</summary>
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
                <button type="submit" id="tinv_try" class="tinv-button tinv-primary" disabled=${made.busy} aria-busy=${made.busy}>
                    ${made.busy ? t("live.generating") : t("live.generate", { step: snapshot.step })}
                </button>
            </div>
            <${Problems} error=${made.error} />
            ${made.url && html`<img class="tinv-tried" src=${made.url} alt=${made.said} /><p class="tinv-quiet">${made.said}</p>`}
        </form>
    </details>`;
}
