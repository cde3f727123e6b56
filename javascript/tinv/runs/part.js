// What was trained before and what comes next: the queue, the history as cards, presets, and the trash of runs.
import { get } from "../api.js";
import { html, useState } from "../html.js";
import { Interrupted } from "../interrupted.js";
import { usePolling } from "../polling.js";
import { Problems } from "../problems.js";
import { Said } from "../said.js";
import { t } from "../texts.js";
import { Waited } from "../waited.js";
import { Cards } from "./cards.js";
import { Overlay } from "./overlay.js";
import { Presets } from "./presets.js";
import { Queue } from "./queue.js";
import { Trash } from "./trash.js";

const EVERY = 5000; // milliseconds
const OVER = 5; // runs that are over and still offered where the queue is

export default function Part({ visible }) {
    const [output, setOutput] = useState(undefined); // the usual log directory
    const [overlaid, setOverlaid] = useState([]);
    const [said, setSaid] = useState(null);
    const [changes, setChanges] = useState({}); // how often what a run has on the disk was changed here, by its id
    const { answer, error, again } = usePolling(() => ask(output), EVERY, visible);

    /** What an action answers, with a way to take it back, and the run whose files it has changed. */
    function done(result, undo = null, run = "") {
        setSaid({ sentences: result.sentences, undo });
        if (run) setChanges((before) => ({ ...before, [run]: (before[run] ?? 0) + 1 }));
        again();
    }
    if (!answer)
        return error
            ? html`<${Problems} error=${error} retry=${again} /><${Elsewhere} output=${output} set=${setOutput} again=${again} />`
            : html`<p class="tinv-quiet">${t("runs.loading")}</p>`;
    const { runs, queue, deleted, presets, status } = answer;
    const drawn = overlaid.filter((id) => runs.some((run) => run.id === id));
    const draw = (id, on) => setOverlaid(on ? [...drawn, id] : drawn.filter((one) => one !== id));
    return html`<div class="tinv-stack tinv-runs">
        <${Problems} error=${error} />
        <${Said} said=${said} close=${() => setSaid(null)} />
        <${Interrupted} runs=${status.interrupted} again=${again} />
        <${Waited} runs=${status.waited} again=${again} />
        <${Queue} jobs=${queue} again=${again} />
        <${Overlay} ids=${drawn} runs=${runs} output=${output} draw=${draw} />
        <${Cards} runs=${runs} output=${output} drawn=${drawn} draw=${draw} changes=${changes} done=${done} />
        <${Trash} deleted=${deleted} output=${output} done=${done} />
        <${Presets} presets=${presets} done=${done} />
        <${Elsewhere} output=${output} set=${setOutput} again=${again} />
    </div>`;
}

async function ask(output) {
    const [runs, queue, deleted, presets, status] = await Promise.all([
        get("runs", { output }),
        get("queue", { over: OVER }),
        get("runs/deleted", { output }),
        get("presets"),
        get("status", { since: 1 << 30 }), // nothing of the curve
    ]);
    return { runs, queue, deleted, presets, status };
}

/** Runs of another log directory. */
function Elsewhere({ output, set, again }) {
    return html`<details>
        <summary>${t("runs.elsewhere")}</summary>
        <label>
            ${t("runs.log_directory")}
            <input
                class="tinv-full"
                value=${output ?? ""}
                placeholder="textual_inversion"
                onChange=${(event) => {
                    set(event.target.value.trim() || undefined);
                    setTimeout(again);
                }}
            />
        </label>
    </details>`;
}
