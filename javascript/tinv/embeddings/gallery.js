// The gallery: a card for each embedding, searched and sorted.
import { address } from "../api.js";
import { html, useId, useState } from "../html.js";
import { t } from "../texts.js";
import { folderOf, matching, sorted } from "./order.js";

const SHOWN = 120; // cards at first; more on demand, so that thousands of files do not slow the page down

export function Gallery({ items, chosen, choose, picked, pick, toPicked, children }) {
    const [search, setSearch] = useState("");
    const [order, setOrder] = useState("changed");
    const [most, setMost] = useState(SHOWN);
    const found = sorted(matching(items, search), order);
    const id = useId();
    return html`<div class="tinv-row">
            <label class="tinv-grow">
                <span class="tinv-hidden">${t("embeddings.search")}</span>
                <input
                    type="search"
                    class="tinv-full"
                    placeholder=${t("embeddings.search")}
                    value=${search}
                    onInput=${(event) => setSearch(event.target.value)}
                />
            </label>
            <label class="tinv-row" for=${id}>${t("embeddings.order")}</label>
            <select id=${id} value=${order} onChange=${(event) => setOrder(event.target.value)}>
                <option value="changed">${t("embeddings.by_date")}</option>
                <option value="name">${t("embeddings.by_name")}</option>
                <option value="family">${t("embeddings.by_model")}</option>
            </select>
            ${children}
        </div>
        ${items.length === 0 && html`<p class="tinv-quiet">${t("embeddings.none")}</p>`}
        ${items.length > 0 && found.length === 0 && html`<p class="tinv-quiet">${t("embeddings.none_found", { search })}</p>`}
        <ul class="tinv-cards" aria-label=${t("embeddings.gallery")}>
            ${found.slice(0, most).map(
                (item) =>
                    html`<${Card}
                        key=${item.key}
                        item=${item}
                        chosen=${item.key === chosen}
                        choose=${choose}
                        picked=${picked.includes(item.key)}
                        pick=${pick}
                        toPicked=${toPicked}
                    />`,
            )}
        </ul>
        ${
            found.length > most &&
            html`<button type="button" class="tinv-button" onClick=${() => setMost(most * 4)}>
            ${t("embeddings.more", { count: found.length - most })}
        </button>`
        }`;
}

function Card({ item, chosen, choose, picked, pick, toPicked }) {
    const { key, name, problem, vectors, step, family } = item;
    const folder = folderOf(key);
    const below = problem
        ? t("embeddings.unreadable")
        : [family ?? t("embeddings.unknown_family"), t("embeddings.vectors", { count: vectors })];
    return html`<li class=${`tinv-card ${chosen ? "tinv-chosen" : ""} ${problem ? "tinv-bad" : ""}`}>
        <button type="button" aria-pressed=${chosen} onClick=${() => choose(chosen ? "" : key)} title=${key}>
            <${Picture} item=${item} />
            <span class="tinv-name">${name}</span>
            ${folder && html`<span class="tinv-quiet tinv-folder">${t("embeddings.in_folder", { folder })}</span>`}
            <span class="tinv-quiet">
                ${problem ? below : [...below, ...(step == null ? [] : [t("embeddings.step", { step })])].join(" · ")}
            </span>
        </button>
        ${
            !problem &&
            html`<label class="tinv-pick" title=${t("embeddings.pick")}>
            <input
                type="checkbox"
                aria-label=${t("embeddings.pick_one", { name: folder ? `${folder}/${name}` : name })}
                checked=${picked}
                onChange=${(event) => pick(key, event.target.checked)}
            />
        </label>
        ${
            picked &&
            html`<span class="tinv-to-picked">
                <button type="button" class="tinv-button" onClick=${toPicked}>${t("embeddings.to_picked")}</button>
            </span>`
        }`
        }
    </li>`;
}

/** The picture of an embedding, or the first letter of its name where there is none. */
export function Picture({ item, large = false }) {
    const [broken, setBroken] = useState("");
    const { key, name, thumbnail } = item;
    if (!thumbnail || broken === thumbnail)
        return html`<span class="tinv-picture tinv-letter" aria-hidden="true">${[...name][0] ?? "?"}</span>`;
    return html`<img
        class="tinv-picture"
        src=${address("embeddings/thumbnail", { key, version: thumbnail })}
        alt=${large ? t("embeddings.picture_of", { name }) : ""}
        loading="lazy"
        decoding="async"
        onError=${() => setBroken(thumbnail)}
    />`;
}
