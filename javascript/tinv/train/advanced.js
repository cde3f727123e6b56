// All other settings: those that many people change, then the rest, and a search over all of them.
import { html, useEffect, useRef, useState } from "../html.js";
import { t } from "../texts.js";
import { Control } from "./control.js";
import { Templates } from "./templates.js";
import { FromTxt2img } from "./txt2img.js";

const ELSEWHERE = new Set(["images", "name", "init_text", "purpose", "preset", "words"]); // they have a place of their own

/** @param {any} about @param {string} sought */
export function matches(about, sought) {
    const text = `${about.name} ${about.label} ${about.help}`.toLowerCase();
    return sought
        .toLowerCase()
        .split(/\s+/)
        .every((word) => text.includes(word));
}

export function Advanced({ form, given, set, outlook }) {
    const [sought, setSought] = useState("");
    const [all, setAll] = useState(false);
    const [opened, setOpened] = useState(false); // what is not in sight is not built
    const others = form.settings.filter((about) => !ELSEWHERE.has(about.name));
    const control = (about) => html`<${Control} key=${about.name} about=${about} value=${given[about.name]}
        effective=${outlook?.values?.[about.name]} problem=${outlook?.problems[about.name]} set=${set} />`;
    const found = sought.trim() ? others.filter((about) => matches(about, sought.trim())) : null;
    const usual = others.filter((about) => about.level < 2);
    const wrong = others.filter((about) => outlook?.problems[about.name]);
    const changed = others.filter((about) => given[about.name] !== undefined);
    const fold = useOpening(wrong.length > 0);
    return html`<details class="tinv-fold tinv-advanced" ref=${fold} onToggle=${() => setOpened(true)}>
        <summary id="tinv_advanced">${t("train.advanced")}
            ${changed.length > 0 && html`<span class="tinv-quiet"> · ${t("train.changed", { count: changed.length })}</span>`}</summary>
        ${
            opened &&
            html`<div class="tinv-stack">
            <div class="tinv-row">
                <input type="search" id="tinv_search" placeholder=${t("train.search")} aria-label=${t("train.search")} value=${sought}
                    onInput=${(event) => setSought(event.target.value)} />
                ${
                    changed.length > 0 &&
                    html`<button type="button" class="tinv-button" onClick=${() => set(cleared(changed))}>
                    ${t("train.reset_all")}</button>`
                }
            </div>
            ${
                found
                    ? html`<div class="tinv-two" id="tinv_found">${found.map(control)}</div>
                    ${found.some((about) => about.group === "previews") && html`<${FromTxt2img} set=${set} />`}
                    ${!found.length && html`<p class="tinv-quiet">${t("train.nothing_found")}</p>`}`
                    : html`<${Groups} form=${form} settings=${all ? others : usual} control=${control} chosen=${given.template} set=${set} wrong=${wrong} />
                    <button type="button" class="tinv-button" id="tinv_all_settings" aria-expanded=${all} onClick=${() => setAll(!all)}>
                        ${all ? t("train.fewer_settings") : t("train.all_settings", { count: others.length })}</button>`
            }
        </div>`
        }
    </details>`;
}

/** A fold that opens when something in it is wrong, and that only a person closes. */
function useOpening(wrong) {
    const fold = useRef(null);
    useEffect(() => {
        if (wrong) fold.current.open = true;
    }, [wrong]);
    return fold;
}

const cleared = (settings) => Object.fromEntries(settings.map(({ name }) => [name, undefined]));

function Groups({ form, settings, control, chosen, set, wrong }) {
    return form.groups.map(({ name, title }) => {
        const own = settings.filter((about) => about.group === name);
        const broken = wrong.filter((about) => about.group === name && !own.includes(about));
        if (!own.length && !broken.length) return null;
        const isWrong = wrong.some((about) => about.group === name);
        return html`<${Group} key=${name} name=${name} title=${title} wrong=${isWrong}>
            <div class="tinv-two">${[...own, ...broken].map(control)}</div>
            ${name === "images" && html`<${Templates} template=${form.byName.template} chosen=${chosen} set=${set} />`}
            ${name === "previews" && html`<${FromTxt2img} set=${set} />`}
        </${Group}>`;
    });
}

function Group({ name, title, wrong, children }) {
    const fold = useOpening(wrong);
    return html`<details class="tinv-fold tinv-group" id="tinv_group_${name}" ref=${fold}>
        <summary>${title}</summary>${children}</details>`;
}
