// The offer to go on with runs that were interrupted; it is gone when they go on.
import { post } from "../api.js";
import { html, useState } from "../html.js";
import { Action } from "../said.js";
import { t } from "../texts.js";

/** `interrupted`: as GET /status has it; `done({sentences})` hears that a run goes on. */
export function Offer({ interrupted, done }) {
    const [left, setLeft] = useState([]);
    const offered = interrupted.filter((run) => !left.includes(run.id));
    if (!offered.length) return null;
    const resume = (run) => async () => {
        await post("resume", { run: run.id });
        done({ sentences: [t("runs.goes_on", { name: run.name })] });
    };
    return html`<section class="tinv-offer tinv-stack" aria-label=${t("runs.interrupted")}>
        ${offered.map(
            (run) => html`<div key=${run.id} class="tinv-row">
                <span class="tinv-grow">${t("runs.was_interrupted", run)}</span>
                <${Action} act=${resume(run)} primary=${true}>${t("runs.resume")}</${Action}>
                <button type="button" class="tinv-button" onClick=${() => setLeft([...left, run.id])}>${t("runs.not_now")}</button>
            </div>`,
        )}
    </section>`;
}
