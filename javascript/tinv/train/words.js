// Further words of the run, trained together with the first: a card for each, with what it has of its own.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { changed } from "../kept.js";
import { Said } from "../said.js";
import { t } from "../texts.js";
import { Control } from "./control.js";
import { Images } from "./images.js";
import { Name } from "./name.js";
import { isFirst, ofWord, settingOf, tablesOf } from "./tables.js";

const IN_SIGHT = ["name", "init_text", "num_vectors", "images"];
const IN_THE_FOLD = ["lr_factor", "learning_rate", "stop_training_after", "train", "template"];

/** `wrong` has what Check has said of each of the tables, `settled` whether `outlook` is of what is set now. */
export function Words({ tables, form, given, set, outlook, settled, begun, wrong, visible }) {
    const { all, marks, add, remove, change, said, close } = tables;
    const readable = all === null && settled && !outlook.problems.words ? tablesOf(outlook.values.words) : null;
    useEffect(() => {
        if (readable) set({ words: settingOf(readable) });
    }, [readable !== null]);
    const shown = (all ?? []).map((table, at) => ({ table, at, ...marks[at] })).filter((one) => !one.hidden);
    return html`<div class="tinv-stack" data-setting="words">
        ${
            all === null &&
            html`<${Control} about=${form.byName.words} value=${given.words} set=${set} problem=${outlook?.problems.words} />`
        }
        ${shown.map(({ table, at, id, first }, place) => {
            const told = outlook?.words?.[at];
            return html`<${Card} key=${id} id=${id} first=${first} number=${place + 2} table=${table} form=${form}
                given=${given} effective=${outlook?.values ?? {}} visible=${visible} change=${change} remove=${remove} replace=${() => set({ overwrite: true })}
                verdict=${begun.includes(table.name) ? null : told?.name} told=${[...(told?.problems ?? []), ...(wrong[at] ?? [])]} />`;
        })}
        <${Said} said=${said} close=${close} />
        ${
            all !== null &&
            html`<div class="tinv-row">
            <button type="button" class="tinv-button" id="tinv_add_word" onClick=${add}>${t("train.add_word")}</button>
            <span class="tinv-quiet">${shown.length ? t("train.words_help", { count: shown.length + 1 }) : t("train.add_word_help")}</span>
        </div>`
        }
    </div>`;
}

/**
 * The tables that are set (`all`; null where only the program can read them), and what can be done to them. `marks` has
 * for each an `id` that stays its own, whether it came from elsewhere as that of the first word, and whether it says
 * nothing but that word's name and is `hidden`. A word that is added is never the first, whatever its name is meanwhile.
 */
export function useTables(given, set) {
    const marks = useRef([]);
    const last = useRef(0);
    const [said, setSaid] = useState(null);
    const all = tablesOf(given.words);
    const mark = (table) => {
        const first = isFirst(table, given);
        const hidden = first && Object.keys(table).length === 1;
        return { id: hidden ? 0 : (last.current += 1), first, hidden };
    };
    while (marks.current.length < (all?.length ?? 0)) marks.current.push(mark(all[marks.current.length]));
    marks.current.length = all?.length ?? 0;
    const edit = (how) => set((now) => ({ words: settingOf(how(tablesOf(now.words) ?? [])) }));
    const lacksFirst = marks.current.length > 0 && !marks.current.some((one) => one.first);
    useEffect(() => {
        if (!lacksFirst) return;
        // or a word that gets its name would be taken for it
        marks.current.unshift({ id: 0, first: true, hidden: true });
        edit((tables) => [{ name: given.name ?? "" }, ...tables]);
    }, [lacksFirst]);
    const add = () => {
        marks.current.push({ id: (last.current += 1), first: false, hidden: false });
        edit((tables) => [...tables, {}]);
    };
    const change = (id, changes) => {
        const place = marks.current.findIndex((one) => one.id === id);
        edit((tables) => tables.map((one, index) => (index === place ? changed(one, changes) : one)));
    };
    const rename = (name) => {
        const place = marks.current.findIndex((one) => one.first);
        set({ name: name || undefined });
        if (place >= 0) change(marks.current[place].id, { name });
    };
    const remove = (id, table) => {
        const place = marks.current.findIndex((one) => one.id === id);
        const [removed] = marks.current.splice(place, 1);
        const only = marks.current.every((one) => one.hidden); // what is left says nothing
        edit((tables) => (only ? [] : tables.filter((_, index) => index !== place)));
        const undo = async () => {
            marks.current.splice(place, 0, removed);
            edit((tables) => [...tables.slice(0, place), table, ...tables.slice(place)]);
            setSaid(null);
        };
        const sentence = t("train.word_removed", { name: table.name ?? "" });
        setSaid({ sentences: [sentence], undo: Object.keys(table).length ? undo : null });
        document.getElementById("tinv_add_word")?.focus();
    };
    return { all, marks: marks.current, add, change, remove, rename, said, close: () => setSaid(null) };
}

function Card({ id, first, number, table, form, given, effective, verdict, told, change, remove, replace, visible }) {
    const prefix = `tinv_word${id}_`;
    const set = (changes) => change(id, changes);
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
                html`<${Name} about=${form.byName.name} value=${table.name} verdict=${verdict} prefix=${prefix} replace=${replace}
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
