// Further words of the run, trained together with the first: a card for each, with what it has of its own.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { Said } from "../said.js";
import { t } from "../texts.js";
import { Control } from "./control.js";
import { Images } from "./images.js";
import { Name } from "./name.js";
import { isFirst, ofWord, settingOf, shownOf, tablesOf } from "./tables.js";

const IN_SIGHT = ["name", "init_text", "num_vectors", "images"];
const IN_THE_FOLD = ["lr_factor", "learning_rate", "stop_training_after", "train", "template"];

/** `wrong` has what Check has said of each of the tables, `settled` whether `outlook` is of what is set now. */
export function Words({ form, given, set, outlook, settled, begun, wrong, visible }) {
    const tables = tablesOf(given.words);
    const { keys, add, remove, change, said, close } = useTables(given, set, tables);
    const readable = tables === null && settled && !outlook.problems.words ? tablesOf(outlook.values.words) : null;
    useEffect(() => {
        if (readable) set((now) => ({ words: settingOf(shownOf(readable, now)) }));
    }, [readable !== null]);
    const cards = shownOf(tables ?? [], given);
    return html`<div class="tinv-stack" data-setting="words">
        ${
            tables === null &&
            html`<${Control} about=${form.byName.words} value=${given.words} set=${set} problem=${outlook?.problems.words} />`
        }
        ${cards.map((table, place) => {
            const at = tables.indexOf(table);
            const told = outlook?.words?.[at];
            return html`<${Card} key=${keys[place]} id=${keys[place]} number=${place + 2} table=${table} form=${form}
                given=${given} effective=${outlook?.values ?? {}} visible=${visible} change=${change} remove=${remove}
                verdict=${begun.includes(table.name) ? null : told?.name} told=${[...(told?.problems ?? []), ...(wrong[at] ?? [])]} />`;
        })}
        <${Said} said=${said} close=${close} />
        ${
            tables !== null &&
            html`<div class="tinv-row">
            <button type="button" class="tinv-button" id="tinv_add_word" onClick=${add}>${t("train.add_word")}</button>
            <span class="tinv-quiet">${cards.length ? t("train.words_help", { count: cards.length + 1 }) : t("train.add_word_help")}</span>
        </div>`
        }
    </div>`;
}

/** Tables that are added, changed and removed, each under a key that stays its own. */
function useTables(given, set, tables) {
    const keys = useRef([]);
    const last = useRef(0);
    const [said, setSaid] = useState(null);
    const count = shownOf(tables ?? [], given).length;
    while (keys.current.length < count) keys.current.push((last.current += 1));
    keys.current.length = count;
    const edit = (how) =>
        set((now) => ({ words: settingOf(how(shownOf(tablesOf(now.words) ?? [], now).map((one) => ({ ...one })))) }));
    const placeOf = (key) => keys.current.indexOf(key);
    const add = () => edit((all) => [...all, {}]);
    const change = (key, changes) => {
        const place = placeOf(key);
        edit((all) => all.map((one, index) => (index === place ? changedTable(one, changes) : one)));
    };
    const remove = (key, table) => {
        const place = placeOf(key);
        keys.current = keys.current.filter((one) => one !== key);
        edit((all) => all.filter((_, index) => index !== place));
        const undo = async () => {
            keys.current.splice(place, 0, (last.current += 1));
            edit((all) => [...all.slice(0, place), table, ...all.slice(place)]);
            setSaid(null);
        };
        const sentence = t("train.word_removed", { name: table.name ?? "" });
        setSaid({ sentences: [sentence], undo: Object.keys(table).length ? undo : null });
        document.getElementById("tinv_add_word")?.focus();
    };
    return { keys: keys.current, add, change, remove, said, close: () => setSaid(null) };
}

const changedTable = (table, changes) =>
    Object.fromEntries(Object.entries({ ...table, ...changes }).filter(([, value]) => value !== undefined));

function Card({ id, number, table, form, given, effective, verdict, told, change, remove, visible }) {
    const prefix = `tinv_word${id}_`;
    const set = (changes) => change(id, changes);
    const first = isFirst(table, given);
    const own = form.of_a_word.map((about) => about.name);
    const alone = useMemo(() => ofWord(given, table, own), [given, JSON.stringify(table)]);
    const problems = [...new Set(told)].filter((text) => !verdict?.texts.includes(text));
    const title = first
        ? t("train.first_word", { name: table.name })
        : table.name
          ? t("train.word_number", { number, name: table.name })
          : t("train.word_unnamed", { number });
    const control = (
        name,
        about = form.byName[name],
    ) => html`<${Control} key=${name} about=${about} value=${table[name]}
        effective=${effective[name]} set=${set} prefix=${prefix} />`;
    useEffect(() => {
        if (!Object.keys(table).length) document.getElementById(`${prefix}name`)?.focus(); // just added
    }, []);
    return html`<section class="tinv-stack tinv-panel tinv-word" aria-label=${title} data-word=${table.name ?? ""}>
        <div class="tinv-row">
            <h3 class="tinv-grow">${title}</h3>
            <button type="button" class="tinv-button" aria-label=${t("train.remove_word", { name: table.name ?? number })}
                onClick=${() => remove(id, table)}>${t("train.remove")}</button>
        </div>
        ${problems.length > 0 && html`<div class="tinv-problems">${problems.map((text) => html`<p>${text}</p>`)}</div>`}
        <div class="tinv-two">
            ${
                !first &&
                html`<${Name} about=${form.byName.name} value=${table.name} verdict=${verdict} prefix=${prefix}
                set=${(typed) => set({ name: typed || undefined })} />`
            }
            ${control("init_text")}
            ${control("num_vectors")}
        </div>
        <${Images} given=${alone} set=${set} about=${{ ...form.byName.images, label: t("train.word_images") }} problem=""
            title=${t("train.word_images")} visible=${visible} prefix=${prefix} said=${problems} />
        ${!table.images && !table.in_json && html`<p class="tinv-quiet">${t("train.word_without_images")}</p>`}
        <${More} table=${table} form=${form} control=${control} set=${set} prefix=${prefix} />
    </section>`;
}

/** What few words have of their own; whatever else the table of a word says is here, too. */
function More({ table, form, control, set, prefix }) {
    const others = Object.keys(table).filter((name) => !IN_SIGHT.includes(name) && !IN_THE_FOLD.includes(name));
    const changed = Object.keys(table).filter((name) => !IN_SIGHT.includes(name));
    const [factor, rate, train, end] = ["lr_factor", "learning_rate", "train", "stop_training_after"].map((name) =>
        form.of_a_word.find((about) => about.name === name),
    );
    const frozen = { ...train, label: t("train.word_frozen"), help: t("train.word_frozen_help") };
    const control_of = (about) => html`<${Control} about=${about} value=${table[about.name]} effective=${about.default}
        set=${set} prefix=${prefix} />`;
    return html`<details class="tinv-fold">
        <summary id="${prefix}more">${t("train.word_more")}
            ${changed.length > 0 && html`<span class="tinv-quiet"> · ${t("train.changed", { count: changed.length })}</span>`}</summary>
        <div class="tinv-two">
            ${control_of(factor)}
            ${control_of(rate)}
            ${control_of(end)}
            <${Control} about=${frozen} value=${table.train === undefined ? undefined : !table.train} effective=${false}
                set=${(changes) => set({ train: changes.train ? false : undefined })} prefix=${prefix} />
            ${control("template")}
            ${others.map((name) => control(name, form.byName[name] ?? unknown(name)))}
        </div>
    </details>`;
}

/** A key that is none of ours: shown, so that it can be removed. */
const unknown = (name) => ({
    name,
    label: name,
    help: "",
    kind: "text",
    default: "",
    choices: [],
    suggestions: [],
});
