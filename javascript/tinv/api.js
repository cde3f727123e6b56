// The routes under /tinv/v1, the only way in which the page and the program speak.

/** @typedef {Record<string, string | number | boolean | undefined | null>} Query */

let connection = { root: "", token: "", language: "" };

/** @param {{root: string, token?: string, language?: string}} given the path before /tinv, the page's token, its language */
export function connect({ root, token = "", language = "" }) {
    connection = { root, token, language };
}

/** The program has said no: `problems` are sentences in the page's language, `ids` tell them apart. */
export class Refused extends Error {
    /**
     * @param {number} status @param {string[]} problems @param {(string | null)[]} ids
     * @param {string[][]} words what is wrong with each of several words
     */
    constructor(status, problems, ids = [], words = []) {
        super(problems.join(" "));
        Object.assign(this, { status, problems, ids, words });
    }
}

/** Nobody answers: the program has ended, or the connection is lost. */
export class Unreachable extends Error {}

/**
 * Of a route, for `get`, or as the source of an image that whoever looks may see.
 * @param {string} route @param {Query} [query] what is undefined or null is left out
 */
export function address(route, query = {}) {
    const { root, language } = connection;
    const asked = Object.entries({ language: language || undefined, ...query });
    const told = asked.filter(([, value]) => value !== undefined && value !== null);
    const text = new URLSearchParams(told.map(([key, value]) => [key, String(value)])).toString();
    return `${root}/tinv/v1/${route}${text ? `?${text}` : ""}`;
}

/** @param {string} route @param {Query} [query] @param {{signal?: AbortSignal}} [options] */
export async function get(route, query, options = {}) {
    return (await ask(address(route, query), { ...options, method: "GET" })).json();
}

/** @param {string} route @param {Query} [query] @param {object} [body] becomes JSON @param {{signal?: AbortSignal}} [options] */
export async function post(route, query, body = {}, options = {}) {
    return (await sent(route, query, body, options)).json();
}

/** @param {string} route @param {Query} query @param {Blob} data sent as it is */
export async function put(route, query, data) {
    const headers = { "Content-Type": "application/octet-stream" };
    return (await ask(address(route, query), { method: "PUT", headers, body: data })).json();
}

/** An image that a route makes, as an address for `<img src>`. @param {string} route @param {Query} query @param {object} body */
export async function postFile(route, query, body) {
    return URL.createObjectURL(await (await sent(route, query, body)).blob());
}

const sent = (route, query, body, options = {}) =>
    ask(address(route, query), {
        ...options,
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
    });

/**
 * A file behind a route that needs the token, as an address for `<img src>`; give it to URL.revokeObjectURL in the end.
 * @param {string} route @param {Query} [query]
 */
export async function file(route, query) {
    return URL.createObjectURL(await (await ask(address(route, query), { method: "GET" })).blob());
}

/** @param {string} url @param {RequestInit} request @returns {Promise<Response>} */
export async function ask(url, request) {
    let answer;
    try {
        const headers = { ...request.headers, "X-Tinv-Page": connection.token };
        answer = await fetch(url, { ...request, headers });
    } catch (error) {
        if (error instanceof DOMException && error.name === "AbortError") throw error;
        throw new Unreachable(String(error));
    }
    if (answer.ok) return answer;
    throw refused(answer.status, await answer.json().catch(() => null));
}

/** @param {number} status @param {any} body what a route or FastAPI answers with a refusal */
export function refused(status, body) {
    const detail = body?.detail;
    if (Array.isArray(detail?.problems)) return new Refused(status, detail.problems, detail.ids, detail.words);
    if (Array.isArray(detail))
        return new Refused(
            status,
            detail.map((wrong) => `${wrong.loc?.join(".")}: ${wrong.msg}`),
        );
    return new Refused(status, [typeof detail === "string" ? detail : `HTTP ${status}`]);
}
