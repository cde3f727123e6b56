// The folders of the program's machine, to choose one from.
import { get } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Problems } from "../problems.js";
import { t } from "../texts.js";

/** @param {{from: string, choose: (path: string) => void, label: string}} of a button that opens the list */
export function Browse({ from, choose, label }) {
    const [open, setOpen] = useState(false);
    const chosen = (path) => {
        setOpen(false);
        if (path !== null) choose(path);
    };
    return html`<button type="button" class="tinv-button" aria-label=${t("train.browse_for", { label })}
            onClick=${() => setOpen(true)}>${t("train.browse")}</button>
        ${open && html`<${Folders} from=${from} chosen=${chosen} title=${label} />`}`;
}

function Folders({ from, chosen, title }) {
    const dialog = useRef(null);
    const [state, setState] = useState({ found: null, error: null });
    const look = async (path) => {
        try {
            setState({ found: await get("folders", { path }), error: null });
        } catch (error) {
            setState((last) => ({ ...last, error }));
            if (path) look(""); // what was typed leads nowhere: begin where there is something
        }
    };
    useEffect(() => {
        dialog.current.showModal();
        look(from);
    }, []);
    const { found, error } = state;
    const join = (name) => `${found.path.replace(/[\\/]$/, "")}${found.path.includes("\\") ? "\\" : "/"}${name}`;
    return html`<dialog ref=${dialog} class="tinv-folders" aria-label=${title} onClose=${() => chosen(null)}>
        <h3>${title}</h3>
        ${!found && html`<${Problems} error=${error} />`}
        ${
            found &&
            html`
            <div class="tinv-row">
                ${found.shortcuts.map(
                    (path) => html`<button type="button" class="tinv-chip" onClick=${() => look(path)}>
                    ${path.split(/[\\/]/).pop() || path}</button>`,
                )}
            </div>
            <p class="tinv-quiet tinv-where">${found.path}</p>
            <ul class="tinv-list">
                ${found.above && html`<li><button type="button" onClick=${() => look(found.above)}>↑ ${t("train.folder_above")}</button></li>`}
                ${found.folders.map((name) => html`<li key=${name}><button type="button" onClick=${() => look(join(name))}>${name}</button></li>`)}
                ${!found.folders.length && html`<li class="tinv-quiet">${t("train.no_folders")}</li>`}
            </ul>
            <div class="tinv-row">
                <button type="button" class="tinv-button tinv-primary" onClick=${() => chosen(found.path)}>
                    ${t("train.use_folder", { count: found.images })}</button>
                <button type="button" class="tinv-button" onClick=${() => chosen(null)}>${t("train.cancel")}</button>
            </div>`
        }
    </dialog>`;
}
