// The buttons that steer a run; each can be pressed only when it does something.
import { post } from "../api.js";
import { html, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";
import { allowed } from "./commands.js";

const LABELS = [
    ["pause", /* text */ "live.pause"],
    ["resume", /* text */ "live.resume"],
    ["stop", /* text */ "live.stop"],
    ["snapshot", /* text */ "live.snapshot"],
    ["preview", /* text */ "live.preview"],
];

export function Controls({ job, lost, again }) {
    const [sent, setSent] = useState({ busy: "", error: null, asked: "" });
    const press = async (command) => {
        setSent({ busy: command, error: null, asked: "" });
        try {
            const answer = await post(command, { job: job.id });
            // what was over goes on as another job
            if (answer.id)
                document.dispatchEvent(
                    new CustomEvent("tinv:started", { detail: { job: answer.id, device: job.device } }),
                );
            setSent({ busy: "", error: null, asked: command });
        } catch (error) {
            setSent({ busy: "", error, asked: "" });
        }
        again();
    };
    const may = allowed(job);
    if (!may.size) return sent.error && html`<${Problems} error=${sent.error} />`;
    return html`
        <div class="tinv-row tinv-controls" role="group" aria-label=${t("live.controls")}>
            ${LABELS.filter(([command]) => may.has(command)).map(
                ([command, label]) => html`<button
                    type="button"
                    key=${command}
                    id=${`tinv_${command}`}
                    class="tinv-button"
                    disabled=${lost || Boolean(sent.busy)}
                    aria-busy=${sent.busy === command}
                    onClick=${() => press(command)}
                >${t(label)}</button>`,
            )}
            <span class="tinv-quiet" role="status">
                ${sent.asked === "snapshot" && t("ui.will_save_snapshot")}
                ${sent.asked === "preview" && t("ui.will_preview")}
            </span>
        </div>
        <${Problems} error=${sent.error} />
    `;
}
