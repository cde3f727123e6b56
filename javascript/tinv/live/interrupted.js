// Runs that a crash has interrupted, each with what resumes it.
import { post } from "../api.js";
import { html, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";

export function Interrupted({ runs, again }) {
    const [error, setError] = useState(null);
    const [busy, setBusy] = useState("");
    const resume = async (run) => {
        setBusy(run.id);
        try {
            await post("resume", { run: run.id });
            setError(null);
        } catch (refused) {
            setError(refused);
        }
        setBusy("");
        again();
    };
    if (!runs.length && !error) return null;
    return html`<div class="tinv-panel tinv-interrupted">
        ${runs.map(
            (run) => html`<div class="tinv-row" key=${run.id}>
                <span>${t("live.interrupted", run)}</span>
                <button type="button" class="tinv-button" disabled=${Boolean(busy)} onClick=${() => resume(run)}>
                    ${t("live.resume")}
                </button>
            </div>`,
        )}
        <${Problems} error=${error} />
    </div>`;
}
