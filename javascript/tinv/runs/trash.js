// What was thrown away of runs: brought back, or deleted for good after a second click.
import { post } from "../api.js";
import { html, useState } from "../html.js";
import { Action } from "../said.js";
import { t } from "../texts.js";
import { sizeOf } from "./order.js";

export function Trash({ deleted, output, done }) {
    const [sure, setSure] = useState(false);
    if (!deleted.length) return null;
    const size = sizeOf(deleted.reduce((sum, one) => sum + one.size, 0));
    const restore =
        ({ id, run }) =>
        async () =>
            done(await post("runs/restore", { output }, { id }), null, run);
    const empty = async () => {
        const result = await post("runs/empty", { output });
        setSure(false);
        done(result);
    };
    return html`<details class="tinv-panel">
        <summary>${t("runs.trash", { size })}</summary>
        <div class="tinv-stack">
            <ul class="tinv-plain">
                ${deleted.map(
                    (one) => html`<li key=${one.id} class="tinv-row">
                        <span class="tinv-grow">
                            ${one.run} <span class="tinv-quiet">${one.when} · ${sizeOf(one.size)}</span>
                        </span>
                        <${Action} act=${restore(one)}>${t("runs.restore")}</${Action}>
                    </li>`,
                )}
            </ul>
            <div class="tinv-row">
                ${
                    sure
                        ? html`<span class="tinv-grow">${t("runs.sure", { size })}</span>
                              <${Action} act=${empty} primary=${true}>${t("runs.delete_for_good")}</${Action}>
                              <button type="button" class="tinv-button" onClick=${() => setSure(false)}>${t("runs.keep")}</button>`
                        : html`<button type="button" class="tinv-button" onClick=${() => setSure(true)}>${t("runs.empty")}</button>`
                }
            </div>
        </div>
    </details>`;
}
