// What is known of one embedding: how it was made, what its vectors are near to and how long they are.
import { get } from "../api.js";
import { fetched, save } from "../files.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { Action } from "../said.js";
import { takeSettings } from "../taking.js";
import { t } from "../texts.js";
import { Changes } from "./changes.js";
import { Picture } from "./gallery.js";
import { Vectors } from "./vectors.js";

export function Details({ item, formats, done, close }) {
    const [{ about, error }, setState] = useState({ about: null, error: null });
    const panel = useRef(null);
    useEffect(() => {
        let here = true;
        get("embeddings/about", { key: item.key }).then(
            (found) => here && setState({ about: found, error: null }),
            (wrong) => here && setState({ about: null, error: wrong }),
        );
        panel.current.scrollIntoView({ block: "nearest" });
        return () => {
            here = false;
        };
    }, [item.key, item.changed]);
    return html`<section class="tinv-panel tinv-stack tinv-about" aria-label=${t("embeddings.about", { name: item.name })} ref=${panel}>
        <div class="tinv-row tinv-top">
            <${Picture} item=${item} large=${true} />
            <div class="tinv-stack tinv-grow">
                <h2>${item.name}</h2>
                <span class="tinv-quiet">${item.key}</span>
            </div>
            <button type="button" class="tinv-button" onClick=${close}>${t("page.close")}</button>
        </div>
        ${item.problem && html`<p class="tinv-problems">${item.problem}</p>`}
        ${!item.problem && html`<${Problems} error=${error} />`}
        ${about?.embeddings.map((one) => html`<${One} one=${one} name=${item.name} />`)}
        <div class="tinv-row">
            <${Action} act=${() => download(item)}>${t("embeddings.download")}</${Action}>
        </div>
        <${Changes} item=${item} formats=${formats} done=${done} />
        ${about && html`<${Facts} about=${about} />`}
    </section>`;
}

async function download(item) {
    const { content, name } = await fetched("embeddings/file", { key: item.key });
    save(content, name);
}

function One({ one, name }) {
    return html`<ul class="tinv-plain">${one.words.map((sentence) => html`<li>${sentence}</li>`)}</ul>
        ${one.unfit && html`<p class="tinv-problems">${one.unfit}</p>`}
        ${
            Object.keys(one.settings).length > 0 &&
            html`<div class="tinv-row">
            <button type="button" class="tinv-button tinv-primary" onClick=${() => takeSettings(one.settings, name)}>
                ${t("embeddings.train_like_this")}
            </button>
        </div>`
        }
        ${one.encoders.map((encoder) => html`<${Vectors} encoder=${encoder} alone=${one.encoders.length === 1} />`)}`;
}

function Facts({ about }) {
    return html`<details>
        <summary>${t("embeddings.all_facts")}</summary>
        <p class="tinv-quiet">${about.layout}, ${about.container}</p>
        ${about.left_out.length > 0 && html`<p class="tinv-quiet">${t("embeddings.left_out", { keys: about.left_out })}</p>`}
        <div class="tinv-scroll">
            <table>
                ${about.embeddings.flatMap((one) =>
                    one.rows.map(
                        ([label, value]) => html`<tr>
                            <th scope="row">${label}</th>
                            <td>${value}</td>
                        </tr>`,
                    ),
                )}
            </table>
        </div>
    </details>`;
}
