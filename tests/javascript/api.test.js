import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { address, connect, get, post, Refused, Unreachable } from "../../javascript/tinv/api.js";

const fetchBefore = globalThis.fetch;
afterEach(() => {
    globalThis.fetch = fetchBefore;
});

/** Answer every request like this, and note it. */
function answering(status, body) {
    const asked = [];
    globalThis.fetch = async (url, request) => {
        asked.push({ url, ...request });
        return new Response(JSON.stringify(body), { status });
    };
    return asked;
}

test("an address has the page's root and language, and no values that are not there", () => {
    connect({ root: "/sd", token: "x", language: "zh_CN" });
    assert.equal(
        address("status", { job: "a b&c", since: 0, other: undefined, none: null }),
        "/sd/tinv/v1/status?language=zh_CN&job=a+b%26c&since=0",
    );
    connect({ root: "" });
    assert.equal(address("texts"), "/tinv/v1/texts");
});

test("every request carries the token, in a header and never in the address", async () => {
    connect({ root: "", token: "secret" });
    const asked = answering(200, { fine: true });
    assert.deepEqual(await get("status"), { fine: true });
    await post("train", {}, { name: "zibbo" });
    for (const { url, headers } of asked) {
        assert.equal(headers["X-Tinv-Page"], "secret");
        assert.ok(!url.includes("secret"));
    }
    assert.equal(asked[1].body, '{"name":"zibbo"}');
    assert.equal(asked[1].headers["Content-Type"], "application/json");
});

test("a refusal has every sentence and its id", async () => {
    answering(422, { detail: { problems: ["One.", "Two."], ids: ["a.one", null] } });
    await assert.rejects(post("train"), (error) => {
        assert.ok(error instanceof Refused);
        assert.deepEqual([error.status, error.problems, error.ids], [422, ["One.", "Two."], ["a.one", null]]);
        return true;
    });
    answering(404, { detail: "There is no preview 3." });
    await assert.rejects(get("picture"), { problems: ["There is no preview 3."] });
    answering(422, { detail: [{ loc: ["query", "since"], msg: "not a number" }] });
    await assert.rejects(get("status"), { problems: ["query.since: not a number"] });
});

test("a program that has ended is told apart from one that refuses", async () => {
    globalThis.fetch = async () => {
        throw new TypeError("Failed to fetch");
    };
    await assert.rejects(get("status"), Unreachable);
});
