// The page's texts in its language; tinv_ext/server/page_texts.py sends them.

let known = {};
let current = "en";

/** @param {{language: string, texts: Record<string, string>}} answer of /tinv/v1/texts */
export function takeTexts(answer) {
    ({ texts: known, language: current } = answer);
}

/** The page's language, as the program names it: "en", "zh_CN". */
export const language = () => current;

/** The same, as `Intl` and the attribute lang name it. */
export const locale = () => current.replace("_", "-");

/**
 * A text of the page. @param {string} id @param {Record<string, unknown>} [values]
 */
export function t(id, values = {}) {
    return format(known[id] ?? id, values);
}

/**
 * A template with its values, by the rules of `core/messages.py`: {name}, {n:image|images}, {names:, }, {loss:.4f}.
 * @param {string} template @param {Record<string, unknown>} values
 */
export function format(template, values) {
    return template.replace(/\{\{|\}\}|\{(\w+)(?::([^{}]*))?\}/g, (whole, name, how = "") => {
        if (name === undefined) return whole[0];
        const value = values[name];
        if (Array.isArray(value)) return value.join(how || ", ");
        if (how.includes("|")) return `${value} ${how.split("|")[value === 1 ? 0 : 1]}`;
        const digits = /^\.(\d+)f$/.exec(how);
        return digits ? Number(value).toFixed(Number(digits[1])) : String(value ?? "");
    });
}
