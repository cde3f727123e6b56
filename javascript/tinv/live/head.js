// Name and status of a run, and how far it is.
import { html } from "../html.js";
import { t } from "../texts.js";

const WORDS = {
    queued: /* text */ "ui.queued",
    preparing: /* text */ "ui.preparing",
    training: /* text */ "ui.training",
    paused: /* text */ "ui.paused",
    stopping: /* text */ "ui.stopping",
    finished: /* text */ "ui.finished",
    stopped: /* text */ "ui.stopped",
    failed: /* text */ "ui.failed",
};

export function Head({ job, texts, queued }) {
    const part = job.total ? Math.min(1, job.steps / job.total) : 0;
    return html`
        <h2 class="tinv-title" aria-live="polite">
            <span class="tinv-name">${job.name}</span>
            <span class=${`tinv-status tinv-is-${job.status}`}>${t(WORDS[job.status] ?? job.status)}</span>
            ${queued.length > 0 && html`<span class="tinv-quiet">${t("live.queued", { names: queued })}</span>`}
        </h2>
        <div
            class="tinv-bar"
            role="progressbar"
            aria-label=${texts.figures[0]}
            aria-valuemin="0"
            aria-valuemax=${job.total}
            aria-valuenow=${job.steps}
        >
            <div class="tinv-fill" style=${{ transform: `scaleX(${part})` }}></div>
        </div>
        <p class="tinv-figures">${texts.figures.map((text, place) => html`<span key=${place}>${text}</span>`)}</p>
    `;
}
