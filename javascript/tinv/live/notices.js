// What the owner of a run should know, newest first.
import { html, useState } from "../html.js";
import { t } from "../texts.js";

const FEW = 2; // more are shown when asked for

export function Notices({ job }) {
    const [all, setAll] = useState(false);
    const noted = [...job.noted].reverse();
    if (!noted.length) return null;
    const shown = all ? noted : noted.slice(0, FEW);
    return html`<div class="tinv-panel tinv-notices" role="log" aria-label=${t("live.notices")}>
        <ul>
            ${shown.map(
                (notice, place) => html`<li key=${noted.length - place} class=${`tinv-${notice.severity}`}>
                    <b>${notice.severity === "warning" ? t("live.warning") : t("live.note")}</b>
                    ${notice.step > 0 && html` <span class="tinv-quiet">${t("ui.at_step", { step: notice.step })}</span>`}
                    <span>${notice.text}</span>
                </li>`,
            )}
        </ul>
        ${
            noted.length > FEW &&
            html`<button type="button" class="tinv-button" aria-expanded=${all} onClick=${() => setAll(!all)}>
                ${all ? t("live.fewer") : t("live.all_notices", { n: noted.length })}
            </button>`
        }
    </div>`;
}
