// What can be done with one embedding: renamed, converted, given more vectors, thrown away.
import { post } from "../api.js";
import { fetched, save } from "../files.js";
import { html, useState } from "../html.js";
import { Action } from "../said.js";
import { t } from "../texts.js";

const MOST = 75; // vectors that one word can have: a prompt's chunk of CLIP

export function Changes({ item, formats, done }) {
    const { key, problem } = item;
    return html`<div class="tinv-stack tinv-changes">
        ${
            !problem &&
            html`<${Rename} item=${item} done=${done} />
            <${Convert} item=${item} formats=${formats} />
            <${Extend} item=${item} done=${done} />`
        }
        <div class="tinv-row">
            <${Action} act=${() => remove(key, done)}>${t("embeddings.delete")}</${Action}>
        </div>
    </div>`;
}

async function remove(key, done) {
    const gone = await post("embeddings/delete", {}, { key });
    done(gone, async () => done(await post("embeddings/restore", {}, { id: gone.id })));
}

function Rename({ item, done }) {
    const [name, setName] = useState("");
    const rename = async () => {
        const result = await post("embeddings/rename", {}, { key: item.key, name });
        const back = () => post("embeddings/rename", {}, { key: result.key, name: item.name, anyway: true });
        done(result, async () => done(await back()));
    };
    return html`<details>
        <summary>${t("embeddings.rename")}</summary>
        <form class="tinv-row" onSubmit=${(event) => event.preventDefault()}>
            <label class="tinv-grow">
                ${t("embeddings.new_name")}
                <input class="tinv-full" value=${name} onInput=${(event) => setName(event.target.value)} />
            </label>
            <${Action} type="submit" act=${rename} disabled=${!name.trim()}>${t("embeddings.rename")}</${Action}>
        </form>
    </details>`;
}

function Convert({ item, formats }) {
    const [to, setTo] = useState("safetensors");
    const [author, setAuthor] = useState("");
    const [license, setLicense] = useState("");
    const convert = async () => {
        const { content, name } = await fetched("embeddings/convert", {}, { key: item.key, to, author, license });
        save(content, name);
    };
    return html`<details>
        <summary>${t("embeddings.convert")}</summary>
        <div class="tinv-stack">
            <p class="tinv-quiet">${t("embeddings.convert_help")}</p>
            <label>
                ${t("embeddings.format")}
                <select class="tinv-full" value=${to} onChange=${(event) => setTo(event.target.value)}>
                    ${formats.map(([format, label]) => html`<option value=${format}>${label}</option>`)}
                </select>
            </label>
            <label>
                ${t("embeddings.author")}
                <input class="tinv-full" value=${author} onInput=${(event) => setAuthor(event.target.value)} />
            </label>
            <label>
                ${t("embeddings.license")}
                <input class="tinv-full" value=${license} onInput=${(event) => setLicense(event.target.value)} />
            </label>
            <div class="tinv-row"><${Action} act=${convert}>${t("embeddings.convert")}</${Action}></div>
        </div>
    </details>`;
}

function Extend({ item, done }) {
    const least = item.vectors + 1;
    const [count, setCount] = useState(Math.min(MOST, Math.max(least, 8)));
    const [fill, setFill] = useState("repeat");
    const [typed, setName] = useState(null); // until then the name says how many vectors it has
    const name = typed ?? `${item.name}-${count}v`;
    if (least > MOST) return null;
    const extend = async () => done(await post("embeddings/extend", {}, { key: item.key, count, fill, name }));
    return html`<details>
        <summary>${t("embeddings.extend")}</summary>
        <div class="tinv-stack">
            <p class="tinv-quiet">${t("embeddings.extend_help")}</p>
            <label>
                ${t("embeddings.vectors", { count })}
                <input
                    type="range"
                    class="tinv-full"
                    min=${least}
                    max=${MOST}
                    value=${count}
                    onInput=${(event) => setCount(Number(event.target.value))}
                />
            </label>
            <label>
                ${t("embeddings.fill")}
                <select class="tinv-full" value=${fill} onChange=${(event) => setFill(event.target.value)}>
                    <option value="repeat">${t("embeddings.fill_repeat")}</option>
                    <option value="zeros">${t("embeddings.fill_zeros")}</option>
                </select>
            </label>
            <label>
                ${t("embeddings.result_name")}
                <input class="tinv-full" value=${name} onInput=${(event) => setName(event.target.value)} />
            </label>
            <div class="tinv-row"><${Action} act=${extend} disabled=${!name.trim()}>${t("embeddings.extend")}</${Action}></div>
        </div>
    </details>`;
}
