// The finished embeddings: a gallery, what is known of the chosen one, and new ones made of several.
import { get } from "../api.js";
import { html, useRef, useState } from "../html.js";
import { usePolling } from "../polling.js";
import { Problems } from "../problems.js";
import { Said } from "../said.js";
import { t } from "../texts.js";
import { Add } from "./add.js";
import { Details } from "./details.js";
import { Gallery } from "./gallery.js";
import { Mix } from "./mix.js";
import { Picked } from "./picked.js";
import { Trash } from "./trash.js";

const EVERY = 20_000; // milliseconds: runs that end elsewhere add embeddings

export default function Part({ visible }) {
    const { answer, error, again } = usePolling(() => get("embeddings"), EVERY, visible);
    const [chosen, setChosen] = useState("");
    const [picked, setPicked] = useState([]);
    const [blends, setBlends] = useState(false); // else they are compared
    const [said, setSaid] = useState(null);
    const place = useRef(null);
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
    const into = (selector) => place.current.querySelector(selector);
    const together = (blended) => {
        setBlends(blended);
        into(".tinv-mix h2").focus({ preventScroll: true });
        requestAnimationFrame(() => into(".tinv-mix").scrollIntoView({ block: "start" })); // as high as it is then
    };
    const clear = () => {
        setPicked([]);
        into("input[type=search]").focus({ preventScroll: true }); // the button that was pressed is gone
    };
    const pick = (key, on) => setPicked(on ? [...mixed, key] : mixed.filter((one) => one !== key));
    return html`<div class="tinv-stack tinv-embeddings" ref=${place}>
        <${Problems} error=${error} />
        <${Said} said=${said} close=${() => setSaid(null)} />
        <div class=${`tinv-shelf ${item ? "tinv-open" : ""}`}>
            <div class="tinv-stack">
                <${Gallery} items=${embeddings} chosen=${chosen} choose=${setChosen} picked=${mixed} pick=${pick}
                    toPicked=${() => into(".tinv-ticked button").focus()}>
                    <${Add} done=${done} />
                </${Gallery}>
            </div>
            ${item && html`<${Details} key=${item.key} item=${item} formats=${formats} done=${done} close=${() => setChosen("")} />`}
        </div>
        <${Picked} picked=${mixed} together=${together} clear=${clear} />
        <${Mix} picked=${mixed} pick=${pick} snapshots=${snapshots} blends=${blends} setBlends=${setBlends} done=${done} />
        <${Trash} deleted=${deleted} done=${done} />
    </div>`;
}
