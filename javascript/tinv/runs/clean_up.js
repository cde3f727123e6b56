// What a run takes on the disk, and which of it can go.
import { post } from "../api.js";
import { html, useState } from "../html.js";
import { Action } from "../said.js";
import { t } from "../texts.js";
import { sizeOf } from "./order.js";

export function CleanUp({ run, sizes, output, done }) {
    const [parts, setParts] = useState([]);
    const names = {
        snapshots: t("runs.snapshots"),
        previews: t("runs.previews"),
        replaced: t("runs.replaced"),
        state: t("runs.state"),
        run: t("runs.everything"),
    };
    const there = Object.keys(names).filter((name) => name in sizes);
    const chosen = parts.includes("run") ? ["run"] : parts.filter((name) => there.includes(name));
    const size = chosen.reduce((sum, name) => sum + sizes[name], 0);
    const pick = (name, on) => setParts(on ? [...parts, name] : parts.filter((one) => one !== name));
    const remove = async () => {
        const gone = await post("runs/delete", { output }, { run: run.id, parts: chosen });
        setParts([]);
        const { id } = gone.deleted[0];
        const undo = async () => done(await post("runs/restore", { output }, { id }), null, run.id);
        done(gone, undo, run.id);
    };
    return html`<details>
        <summary>${t("runs.clean_up")}</summary>
        <div class="tinv-stack">
            ${there.map(
                (name) => html`<label class="tinv-row">
                    <input
                        type="checkbox"
                        checked=${chosen.includes(name) || chosen.includes("run")}
                        disabled=${name !== "run" && chosen.includes("run")}
                        onChange=${(event) => pick(name, event.target.checked)}
                    />
                    <span class="tinv-grow">${names[name]}</span>
                    <span class="tinv-quiet">${sizeOf(sizes[name])}</span>
                </label>`,
            )}
            ${chosen.includes("state") && html`<p class="tinv-quiet">${t("runs.state_warning")}</p>`}
            <div class="tinv-row">
                <${Action} act=${remove} disabled=${!chosen.length}>
                    ${t("runs.to_trash", { size: sizeOf(size) })}
                </${Action}>
            </div>
        </div>
    </details>`;
}
