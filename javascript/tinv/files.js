// Files to the program and from it: what is sent as it is, and what a browser saves or shows.
import { address, ask } from "./api.js";

/**
 * A file to a route that takes one. @param {string} route @param {import("./api.js").Query} query @param {Blob} content
 */
export async function send(route, query, content) {
    const headers = { "Content-Type": "application/octet-stream" };
    return (await ask(address(route, query), { method: "POST", headers, body: content })).json();
}

/**
 * What a route answers with a file: its content, and what it is to be called.
 * @param {string} route @param {import("./api.js").Query} query @param {object} [body] becomes JSON; a GET without one
 */
export async function fetched(route, query, body) {
    const headers = { "Content-Type": "application/json" };
    const request = body ? { method: "POST", headers, body: JSON.stringify(body) } : { method: "GET" };
    const answer = await ask(address(route, query), request);
    return { content: await answer.blob(), name: nameOf(answer.headers.get("content-disposition") ?? "") };
}

/** The file name of a Content-Disposition header (RFC 6266), or nothing. @param {string} header */
export function nameOf(header) {
    const encoded = /filename\*=utf-8''([^;]+)/i.exec(header);
    if (encoded) return decodeURIComponent(encoded[1]);
    return /filename="([^"]*)"/i.exec(header)?.[1] ?? "";
}

/** Have the browser save a file. @param {Blob} content @param {string} name */
export function save(content, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser has begun to read it by then
}
