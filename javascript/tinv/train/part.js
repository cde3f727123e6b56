// The first part of the page: from a folder of images to a run that trains.
import { get } from "../api.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { outdated, Problems } from "../problems.js";
import { t } from "../texts.js";
import { Actions } from "./actions.js";
import { Advanced } from "./advanced.js";
import { useAnswer } from "./asking.js";
import { Images } from "./images.js";
import { OwnPresets } from "./own_presets.js";
import { useSettings } from "./settings.js";
import { staying, useSettingsFile } from "./settings_file.js";
import { withoutOwn } from "./tables.js";
import { Word } from "./word.js";

const AGAIN = 10_000; // milliseconds: another model may be loaded meanwhile

export default function Train({ visible }) {
    const { form, error, retry } = useForm();
    const { given, from, taken, set, take } = useSettings();
    const [begun, setBegun] = useState([]); // the names of the last run from here: that they are taken now is no mistake
    const [wrong, setWrong] = useState([]); // what Check has said of each of several words
    const alone = useMemo(() => withoutOwn(given), [given]);
    const { answer: outlook, settled, error: refused, refresh } = useAnswer("outlook", {}, given, AGAIN, visible);
    const count = useRef(refresh);
    count.current = refresh;
    useEffect(() => {
        const heard = () => count.current(); // files may have come since the program counted them
        document.addEventListener("tinv:counted", heard);
        return () => document.removeEventListener("tinv:counted", heard);
    }, []);
    const file = useSettingsFile(given, form, take);
    const adopt = useRef((/** @type {any} */ _preset) => {});
    adopt.current = (preset) => take({ ...staying(given, preset.settings, form), ...preset.settings }, preset.name);
    useEffect(() => {
        const heard = (event) => adopt.current(event.detail);
        document.addEventListener("tinv:preset", heard);
        return () => document.removeEventListener("tinv:preset", heard);
    }, []);
    if (error) return html`<${Problems} error=${error} retry=${retry} />`;
    if (!form) return html`<p class="tinv-quiet">${t("train.loading")}</p>`;
    return html`<div class="tinv-stack tinv-train">
        ${outdated(refused) && html`<${Problems} error=${refused} />`}
        ${from && html`<p class="tinv-said">${t("train.taken_from", { from })}</p>`}
        <${Images} given=${alone} set=${set} about=${form.byName.images} problem=${outlook?.problems.images} visible=${visible}
            counted=${outlook?.images ?? null} settingsFile=${file.read} />
        <div class="tinv-stack tinv-recipe">
            <${Word} key=${taken} form=${form} given=${given} set=${set} outlook=${outlook} settled=${settled} begun=${begun}
                wrong=${wrong} visible=${visible}
                presets=${html`<${OwnPresets} adopt=${(preset) => adopt.current(preset)} file=${file} visible=${visible} />`} />
            <${Advanced} form=${form} given=${given} set=${set} outlook=${outlook} />
            <${Actions} given=${given} outlook=${outlook} measured=${refresh} begun=${setBegun} refused=${setWrong} />
        </div>
    </div>`;
}

/** What the program says of its settings; asked for once. */
function useForm() {
    const [state, setState] = useState({ form: null, error: null });
    const load = async () => {
        setState({ form: null, error: null });
        try {
            const form = await get("settings");
            setState({
                form: { ...form, byName: Object.fromEntries(form.settings.map((one) => [one.name, one])) },
                error: null,
            });
        } catch (error) {
            setState({ form: null, error });
        }
    };
    useEffect(() => {
        load();
    }, []);
    return { ...state, retry: load };
}
