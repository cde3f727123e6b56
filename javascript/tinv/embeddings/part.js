// The finished embeddings: a gallery, what is known of the chosen one, and new ones made of several.
import { get } from "../api.js";
import { html, useState } from "../html.js";
import { usePolling } from "../polling.js";
import { Problems } from "../problems.js";
import { Said } from "../said.js";
import { t } from "../texts.js";
import { Add } from "./add.js";
import { Details } from "./details.js";
import { Gallery } from "./gallery.js";
import { Mix } from "./mix.js";
import { Trash } from "./trash.js";

const EVERY = 20_000; // milliseconds: runs that end elsewhere add embeddings

export default function Part({ visible }) {
    const { answer, error, again } = usePolling(() => get("embeddings"), EVERY, visible);
    const [chosen, setChosen] = useState("");
    const [picked, setPicked] = useState([]);
    const [said, setSaid] = useState(null);
    if (!answer)
        return error
            ? html`<${Problems} error=${error} retry=${again} />`
            : html`<p class="tinv-quiet">${t("embeddings.loading")}</p>`;
    const { embeddings, deleted, snapshots, formats } = answer;
    const item = embeddings.find((one) => one.key === chosen);
    const there = [...embeddings.filter((one) => !one.problem).map((one) => one.key), ...snapshots];
    const mixed = picked.filter((key) => there.includes(key));

    /** What an action answers: sentences, and the embedding that there is now. */
    function done(result, undo = null) {
        setSaid({ sentences: result.sentences, undo });
        if (result.key !== undefined) setChosen(result.key ?? "");
        again();
    }
    const pick = (key, on) => setPicked(on ? [...mixed, key] : mixed.filter((one) => one !== key));
    return html`<div class="tinv-stack tinv-embeddings">
        <${Problems} error=${error} />
        <${Said} said=${said} close=${() => setSaid(null)} />
        <div class=${`tinv-shelf ${item ? "tinv-open" : ""}`}>
            <div class="tinv-stack">
                <${Gallery} items=${embeddings} chosen=${chosen} choose=${setChosen} picked=${mixed} pick=${pick}>
                    <${Add} done=${done} />
                </${Gallery}>
            </div>
            ${item && html`<${Details} key=${item.key} item=${item} formats=${formats} done=${done} close=${() => setChosen("")} />`}
        </div>
        <${Mix} picked=${mixed} pick=${pick} snapshots=${snapshots} done=${done} />
        <${Trash} deleted=${deleted} done=${done} />
    </div>`;
}
