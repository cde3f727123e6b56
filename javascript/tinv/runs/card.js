// One run of the history. What it was is asked for when its card comes into sight.
import { get, post } from "../api.js";
import { Device, there } from "../device.js";
import { fetched } from "../files.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { Action } from "../said.js";
import { takeSettings } from "../taking.js";
import { locale, t } from "../texts.js";
import { CleanUp } from "./clean_up.js";
import { madeAt, points, shownDate, sizeOf } from "./order.js";

export function Card({ run, output, drawn, draw, changed, done }) {
    const place = useRef(null);
    const { about, picture, error } = useAbout(run, output, place, changed);
    const resume = async (changes = {}, device = "") => {
        const { said } = await post("resume", { run: run.id, output, device: device || undefined }, changes);
        done({ sentences: [said] });
    };
    const bringBack = async (file) => done(await post("runs/bring_back", { output }, { run: run.id, file }));
    const finished = run.status === "finished";
    return html`<li class="tinv-card tinv-run" ref=${place}>
        ${
            picture
                ? html`<img class="tinv-picture" src=${picture} alt=${t("runs.preview_of", { name: run.name })} />`
                : html`<span class="tinv-picture tinv-letter" aria-hidden="true">${[...run.name][0] ?? "?"}</span>`
        }
        <div class="tinv-stack tinv-body">
            <div>
                <h3>${run.name}</h3>
                <span class=${`tinv-outcome tinv-${run.status}`}>${run.status_word}</span>
                <span class="tinv-quiet"> ${t("runs.of", run)}</span>
                <div class="tinv-quiet">
                    ${[shownDate(run.started, locale()), about?.model.model_name, about && sizeOf(about.sizes.run)]
                        .filter(Boolean)
                        .join(" · ")}
                </div>
                ${run.reason && html`<div class="tinv-quiet">${run.reason}</div>`}
            </div>
            <${Curve} about=${about} />
            <${Problems} error=${error} />
            <div class="tinv-row">
                ${
                    run.can_resume &&
                    !finished &&
                    html`<${Action} act=${() => resume()} primary=${true}>
                        ${t("runs.resume")}<span class="tinv-hidden"> ${run.name}</span>
                    </${Action}>`
                }
                <button
                    type="button"
                    class="tinv-button"
                    disabled=${!about}
                    onClick=${() => takeSettings(about.settings, run.name)}
                >
                    ${t("runs.train_like_this")}
                </button>
                ${about?.replaced.map(
                    (
                        file,
                    ) => html`<${Action} key=${file} act=${() => bringBack(file)} title=${t("runs.bring_back_help")}>
                        ${t("runs.bring_back", { file })}
                    </${Action}>`,
                )}
                <label class="tinv-row">
                    <input type="checkbox" checked=${drawn} onChange=${(event) => draw(run.id, event.target.checked)} />
                    ${t("runs.overlay")}<span class="tinv-hidden"> ${run.name}</span>
                </label>
            </div>
            ${run.can_resume && html`<${ResumeChanged} resume=${resume} />`}
            ${about && html`<${SavePreset} run=${run} settings=${about.settings} done=${done} />`}
            ${about && html`<${CleanUp} run=${run} sizes=${about.sizes} output=${output} done=${done} />`}
        </div>
    </li>`;
}

/** With more steps, or other settings for the rest, which alone may change; or on another device. */
function ResumeChanged({ resume }) {
    const [changes, setChanges] = useState({});
    const [{ devices, error }, setDevices] = useState({ devices: [], error: null });
    const [chosen, choose] = useState("");
    const device = there(chosen, devices);
    const look = async (event) => {
        if (!event.target.open) return;
        try {
            setDevices({ devices: await get("devices"), error: null });
        } catch (error) {
            setDevices({ devices: [], error });
        }
    };
    const labels = { steps: t("runs.total_steps"), learning_rate: t("runs.learning_rate"), images: t("runs.images") };
    const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value.trim()));
    return html`<details onToggle=${look}>
        <summary>${t("runs.resume_changed")}</summary>
        <div class="tinv-stack">
            ${Object.entries(labels).map(
                ([name, label]) => html`<label>
                    ${label}
                    <input
                        class="tinv-full"
                        placeholder=${t("runs.unchanged")}
                        value=${changes[name] ?? ""}
                        onInput=${(event) => setChanges({ ...changes, [name]: event.target.value })}
                    />
                </label>`,
            )}
            <${Device} devices=${devices} device=${device} choose=${choose} />
            <${Problems} error=${error} />
            <div class="tinv-row"><${Action} act=${() => resume(given, device)}>${t("runs.resume")}</${Action}></div>
        </div>
    </details>`;
}

function SavePreset({ run, settings, done }) {
    const [name, setName] = useState(run.name);
    const keep = async () => done(await post("presets/save", {}, { name, settings }));
    return html`<details>
        <summary>${t("runs.save_preset")}</summary>
        <form class="tinv-row" onSubmit=${(event) => event.preventDefault()}>
            <label class="tinv-grow">
                ${t("runs.preset_name")}
                <input class="tinv-full" value=${name} onInput=${(event) => setName(event.target.value)} />
            </label>
            <${Action} type="submit" act=${keep} disabled=${!name.trim()}>${t("runs.save_preset")}</${Action}>
        </form>
    </details>`;
}

/** The best evaluations as a line where there are some, else the smoothed loss. */
function Curve({ about }) {
    const line = about && lineOf(about);
    const drawn = line && points(line, 200, 44);
    if (!drawn) return null;
    return html`<svg class="tinv-curve" viewBox="0 0 200 44" preserveAspectRatio="none" role="img" aria-label=${t("runs.curve")}>
        <polyline points=${drawn} />
    </svg>`;
}

/** Steps and values of what says most of a run. @returns {[number, number][]} */
export function lineOf(about) {
    if (kindOf(about) === "evaluation") return about.evaluations;
    return about.curve.map(([step, , smoothed]) => [step, smoothed]);
}

/** Which of the two it is, which cannot be compared with one another. */
export const kindOf = (about) => (about.evaluations.length > 1 ? "evaluation" : "loss");

/** What is known of a run, asked for once it is seen, and again when it has gone on or its files were changed. */
function useAbout(run, output, place, changed) {
    const [seen, setSeen] = useState(false);
    const [state, setState] = useState({ about: null, picture: "", error: null });
    useEffect(() => {
        const observer = new IntersectionObserver(
            (entries) => entries.some((entry) => entry.isIntersecting) && setSeen(true),
        );
        observer.observe(place.current);
        return () => observer.disconnect();
    }, []);
    useEffect(() => {
        if (!seen) return undefined;
        let here = true;
        let url = "";
        (async () => {
            try {
                const about = await get("runs/about", { run: run.id, output });
                const picture = about.previews.length ? {} : { picture: "" };
                if (here) setState((before) => ({ ...before, ...picture, about, error: null }));
                if (!about.previews.length) return;
                const { content } = await fetched("runs/preview", { run: run.id, output, small: true });
                url = URL.createObjectURL(content);
                if (here) setState((before) => ({ ...before, picture: url }));
            } catch (error) {
                if (here) setState((before) => ({ ...before, error }));
            }
        })();
        return () => {
            here = false;
            URL.revokeObjectURL(url);
        };
    }, [seen, madeAt(run), changed, output]);
    return state;
}
